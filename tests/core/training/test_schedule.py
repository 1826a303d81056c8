import pytest

from cxr_core.training.schedule import cosine_rate


def test_the_rate_runs_from_peak_to_floor_over_the_planned_steps() -> None:
    rates = [cosine_rate(step, 101, 1e-3, 1e-7) for step in range(101)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[50] == pytest.approx((1e-3 + 1e-7) / 2)
    assert rates[-1] == pytest.approx(1e-7)
    assert rates == sorted(rates, reverse=True)


def test_a_single_step_uses_the_peak() -> None:
    assert cosine_rate(0, 1, 1e-3, 1e-7) == pytest.approx(1e-3)


def test_a_floor_above_the_peak_never_raises_the_rate() -> None:
    assert cosine_rate(9, 10, 1e-5, 1e-3) == pytest.approx(1e-5)


def test_the_rate_rises_in_equal_parts_and_then_falls_as_without_warm_up() -> None:
    rates = [cosine_rate(step, 20, 1.0, 0.0, warmup=4) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == pytest.approx([cosine_rate(step, 16, 1.0, 0.0) for step in range(16)])
