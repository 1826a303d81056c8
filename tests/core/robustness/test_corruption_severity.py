"""What holds for every corruption: severity order on phantoms, the same bytes again, black padding, refusals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cxr_core.dataset.phantom import DEFECTS, PhantomSpec, iter_films
from cxr_core.errors import CxrError
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, Preset, Step, condition, corrupt

NAMES = sorted(CORRUPTIONS)
FRAME = Preprocessing(224, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3).frame
DRAWN = {"brightness", "contrast", "gamma", "rotation", "shift", "motion_blur"}  # one number or direction an image
EVERYWHERE = {"gaussian_noise", "poisson_noise"}  # pixels drawn apart


@pytest.fixture(scope="module")
def phantoms() -> np.ndarray:
    """Canonical frames of fifteen phantoms of both sites."""
    defects = dict.fromkeys((name for name in DEFECTS if name != "wrong_labels"), 0)
    spec = PhantomSpec(patients_per_class=5, films_per_patient=(1, 1), seed=19, **defects)
    return np.stack([FRAME(film.pixels) for _, film in iter_films(spec)])


def keys(frames: np.ndarray) -> list[str]:
    return [f"film {row}" for row in range(len(frames))]


def distances(frames: np.ndarray, name: str) -> np.ndarray:
    """Root mean square distance from clean in grey levels, (severities, films)."""
    corrupted = [corrupt(frames, keys(frames), condition(name, severity), seed=42) for severity in SEVERITIES]
    return np.array([np.sqrt(((c.astype(float) - frames) ** 2).mean(axis=(1, 2))) for c in corrupted])


def test_the_registry_holds_the_fourteen_corruptions_with_five_amounts_each() -> None:
    assert NAMES == [
        "brightness", "collimation", "contrast", "downscale", "gamma", "gaussian_blur", "gaussian_noise", "inversion",
        "jpeg", "marker", "motion_blur", "poisson_noise", "rotation", "shift",
    ]  # fmt: skip
    for name, entry in CORRUPTIONS.items():
        assert len(entry.severities) == 5
        steps = np.diff([entry.nothing, *entry.severities])
        assert (steps > 0).all() or (steps < 0).all(), name  # away from what leaves a film as it is
        assert entry.title
        assert entry.unit
        assert entry.source.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_film_gets_no_better_with_severity_and_the_mean_gets_worse(name: str, phantoms: np.ndarray) -> None:
    found = distances(phantoms, name)
    assert (np.diff(found, axis=0) >= 0).all()
    means = found.mean(axis=1)
    assert means[0] > 0.5
    for weaker, stronger in pairwise(means):
        assert stronger > 1.005 * weaker


@pytest.mark.parametrize("name", NAMES)
def test_the_same_film_key_and_seed_give_the_same_bytes_in_any_batch(name: str, phantoms: np.ndarray) -> None:
    frames, severe = phantoms[:5], condition(name, 4)
    together = corrupt(frames, keys(frames), severe, seed=42)
    assert np.array_equal(corrupt(frames, keys(frames), severe, seed=42), together)
    backwards = corrupt(frames[::-1], keys(frames)[::-1], severe, seed=42)[::-1]
    assert np.array_equal(backwards, together)
    assert np.array_equal(corrupt(frames[3:4], [keys(frames)[3]], severe, seed=42)[0], together[3])


@pytest.mark.parametrize("name", NAMES)
def test_other_keys_and_seeds_give_other_draws_where_anything_is_drawn(name: str, phantoms: np.ndarray) -> None:
    frames = np.repeat(phantoms[:1], 12, axis=0)
    severe = condition(name, 5)
    one, other = corrupt(frames, keys(frames), severe, seed=42), corrupt(frames, keys(frames), severe, seed=43)
    kinds = len({frame.tobytes() for frame in one})
    if name in {"gaussian_blur", "downscale", "jpeg", "inversion"}:  # nothing is drawn
        assert kinds == 1
        assert np.array_equal(one, other)
    else:
        least, most = (2, 2) if name in {"gamma", "rotation"} else (10, 12)  # a sign has two; rounding may join others
        assert least <= kinds <= most
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("name", sorted(EVERYWHERE))
def test_noise_of_two_films_is_unrelated_and_of_one_film_the_same_at_every_severity(name: str) -> None:
    flat = np.full((2, 96, 96), 128, np.uint8)
    weak, strong = (corrupt(flat, ["a", "b"], condition(name, s), seed=0).astype(float) - 128 for s in (4, 5))
    assert abs(np.corrcoef(weak[0].ravel(), weak[1].ravel())[0, 1]) < 0.05
    assert np.corrcoef(weak[0].ravel(), strong[0].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NAMES)
def test_padding_stays_black_and_the_film_is_treated_as_if_it_had_none(name: str, severity: int) -> None:
    film = np.random.default_rng(1).integers(60, 255, (200, 120), dtype=np.uint8)
    frame = np.zeros((200, 200), np.uint8)
    frame[:, 40:160] = film
    padded = corrupt(frame[None], ["one"], condition(name, severity), seed=0)[0]
    alone = corrupt(film[None], ["one"], condition(name, severity), seed=0)[0]
    assert not padded[:, :40].any()
    assert not padded[:, 160:].any()
    assert np.array_equal(padded[:, 40:160], alone)
    assert not np.array_equal(alone, film)
    assert padded.dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
def test_black_tiny_and_no_films_pass_without_error(name: str) -> None:
    for shape in [(1, 64, 64), (2, 1, 1), (1, 2, 3), (0, 64, 64)]:
        for grey in (0, 200):
            frames = np.full(shape, grey, np.uint8)
            for severity in SEVERITIES:
                assert corrupt(frames, keys(frames), condition(name, severity), seed=0).shape == shape


def test_corrupting_changes_no_frame_that_was_passed_in(phantoms: np.ndarray) -> None:
    before = phantoms.copy()
    for name in NAMES:
        corrupt(phantoms, keys(phantoms), condition(name, 5), seed=0)
    assert np.array_equal(phantoms, before)


def test_a_condition_is_one_step_named_for_its_corruption_and_severity() -> None:
    assert condition("gamma", 3) == Preset("gamma-3", (Step("gamma", 1.5),))
    names = {condition(name, severity).name for name in NAMES for severity in SEVERITIES}
    assert len(names) == 70
    assert all(condition(name, severity).acting for name in NAMES for severity in SEVERITIES)


@pytest.mark.parametrize(
    ("name", "severity", "said"), [("fog", 1, "fog"), ("gamma", 0, "Severity 0"), ("jpeg", 6, "6")]
)
def test_a_condition_that_does_not_exist_is_refused(name: str, severity: int, said: str) -> None:
    with pytest.raises(CxrError, match=said):
        condition(name, severity)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("brightness", 1.1),
        ("contrast", 1.0),
        ("gamma", 0.9),
        ("gamma", 11.0),
        ("gaussian_blur", 2.0),
        ("motion_blur", -1.0),
        ("motion_blur", 101.0),
        ("gaussian_noise", -0.1),
        ("poisson_noise", 0.0),
        ("poisson_noise", 1.5),
        ("downscale", 1.5),
        ("jpeg", 0.0),
        ("jpeg", 50.5),
        ("rotation", 181.0),
        ("shift", 1.0),
        ("marker", 1.01),
        ("collimation", 0.95),
        ("inversion", -0.2),
        *((name, float("nan")) for name in NAMES),
        *((name, float("inf")) for name in NAMES),
    ],
)
def test_an_amount_that_a_corruption_cannot_take_is_refused_with_what_it_takes(name: str, amount: float) -> None:
    with pytest.raises(CxrError, match=f"of {name} must be"):
        Step(name, amount)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_a_later_draw_does_not_depend_on_the_amount(name: str) -> None:
    film = np.random.default_rng(2).uniform(40, 200, (60, 50)).astype(np.float32)
    states = []
    for amount in CORRUPTIONS[name].severities:
        rng = np.random.default_rng(8)
        CORRUPTIONS[name].act(film, amount, rng)
        states.append(rng.bit_generator.state["state"])
    assert all(state == states[0] for state in states)
