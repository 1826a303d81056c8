import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from bentoml_service.prometheus_text import choose_format
from bentoml_service.telemetry import Observation, Telemetry
from cxr_core.release.predictor import ModelIdentity
from cxr_core.settings_service import TelemetrySettings

MODEL = ModelIdentity(name="cxr", version="1.2.3", digest="d" * 64, preprocessing_digest="p" * 64)


@pytest.fixture
def telemetry(tmp_path: Path):
    telemetry = Telemetry(tmp_path / "telemetry.sqlite", TelemetrySettings(), MODEL, {"/predict", "/health"})
    for seconds in (0.1, 0.25, 0.5, 0.51, 3.0):
        telemetry.request("/predict", 200, seconds)
    telemetry.request("/predict", 422, 0.01)
    telemetry.request("/predict", 500, 0.01)
    telemetry.request("/DOE_JOHN", 404, 0.01)
    telemetry.prediction(Observation("Tuberculosis", 0.6, 120, 50, 1.2, ("low_confidence", "crop")))
    telemetry.prediction(Observation('odd "label"\n', 0.9, 120, 50, 1.2))
    yield telemetry
    telemetry.close()


def samples(text: str, reader=read_text) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in reader(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(("form", "reader"), [("text", read_text), ("openmetrics", read_openmetrics)])
def test_both_formats_say_what_was_counted(telemetry: Telemetry, form, reader) -> None:
    found = samples(telemetry.prometheus(form), reader)

    def value(sample: str, /, **labels: str) -> float:
        return found[sample, tuple(sorted(labels.items()))]

    assert value("cxr_requests_total", route="/predict", status="200") == 5
    assert value("cxr_requests_total", route="/predict", status="422") == 1
    assert value("cxr_requests_total", route="other", status="404") == 1
    assert value("cxr_predictions_total", label="Tuberculosis") == 1
    assert value("cxr_predictions_total", label='odd "label"\n') == 1
    assert value("cxr_warnings_total", code="crop") == 1
    assert value("cxr_model_info", name="cxr", version="1.2.3", digest="d" * 64) == 1
    assert value("cxr_telemetry_up") == 1
    answered = {"route": "/predict", "outcome": "answered"}
    name = "cxr_request_duration_seconds"
    edges = {le: value(f"{name}_bucket", le=le, **answered) for le in ("0.125", "0.25", "0.5", "2.0", "4.0", "+Inf")}
    assert edges == {"0.125": 1, "0.25": 2, "0.5": 3, "2.0": 4, "4.0": 5, "+Inf": 5}
    assert value(f"{name}_count", **answered) == 5
    assert value(f"{name}_sum", **answered) == pytest.approx(4.36)


def test_no_path_of_a_client_is_a_label(telemetry: Telemetry) -> None:
    assert "DOE" not in telemetry.prometheus() + telemetry.prometheus("openmetrics")


def test_before_the_first_request_the_text_is_valid(tmp_path: Path) -> None:
    telemetry = Telemetry(tmp_path / "telemetry.sqlite", TelemetrySettings())
    try:
        assert samples(telemetry.prometheus())["cxr_telemetry_lost_events_total", ()] == 0
        assert telemetry.prometheus("openmetrics").endswith("# EOF\n")
    finally:
        telemetry.close()


def test_counters_go_on_after_a_restart(telemetry: Telemetry) -> None:
    before = samples(telemetry.prometheus())
    telemetry.close()
    again = Telemetry(telemetry._store.path, TelemetrySettings(), MODEL, {"/predict"})
    try:
        again.request("/predict", 200, 0.1)
        after = samples(again.prometheus())
    finally:
        again.close()
    assert all(after[key] >= value for key, value in before.items())
    key = ("cxr_requests_total", (("route", "/predict"), ("status", "200")))
    assert (before[key], after[key]) == (5, 6)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/plain", "text"),
        ("text/plain; version=0.0.4", "text"),
        ("TEXT/PLAIN", "text"),
        ("application/json, text/plain, */*", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("text/plain;q=0.5, application/json;q=0.4", "text"),
        ("text/plain;q=0, */*", "json"),
        # what Prometheus sends
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
            "openmetrics",
        ),
        ("text/plain;q=;;=,,;q=nan", "json"),
        ("text/plain;q=x", "json"),
        ("image/png", "json"),
        (";,;=,\x00" * 50, "json"),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str, form: str) -> None:
    assert choose_format(accept) == form


def test_prometheus_client_waits_until_bentoml_has_set_its_environment() -> None:
    code = "import sys, bentoml_service.telemetry; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_text_leaves_nothing_in_the_folder_of_per_process_metrics(tmp_path: Path) -> None:
    folder = tmp_path / "multiproc"
    folder.mkdir()
    code = (
        "import sys, pathlib; from bentoml_service.telemetry import Telemetry;"
        "from cxr_core.settings_service import TelemetrySettings;"
        "t = Telemetry(pathlib.Path(sys.argv[1]), TelemetrySettings()); t.request('/predict', 200, .1);"
        "print(t.prometheus())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "telemetry.sqlite")]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert 'cxr_requests_total{route="/predict",status="200"} 1.0' in done.stdout, done.stderr
    assert list(folder.iterdir()) == []
    # the process ended without close(): what was counted is there all the same
    again = Telemetry(tmp_path / "telemetry.sqlite", TelemetrySettings())
    assert again.metrics()["overall"]["total"]["requests"] == 1
    again.close()
