"""The Python client and ``cxr predict`` against a real ``bentoml serve``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import films
import pandas as pd
import pytest
from serving import Server, serve

from cxr_core import NOTICE
from cxr_core.client import Answer, Client, Retries, ServiceProblem, predict_folder
from cxr_core.client.models import LocalModel, ServedModel
from cxr_core.release.package import load_manifest
from cxr_core.settings import load_settings

GOOD = films.good_files()
BAD = films.bad_files()
LARGEST = 10_000_000  # bytes


@pytest.fixture(scope="module")
def client(server: Server, key: str) -> Iterator[Client]:
    with Client(server.url, key) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every good and every bad file, and enough others for several batches."""
    root = tmp_path_factory.mktemp("Doe_John_1970")
    for name, data in GOOD.items():
        (root / f"good_{name}.jpg").write_bytes(data)
    for name, (data, _, _) in BAD.items():
        (root / f"bad_{name}.jpg").write_bytes(data)
    (root / "more").mkdir()
    for number in range(15):
        (root / f"more/{number:02}.png").write_bytes(films.film(seed=number))
    return root


def test_an_answer_has_every_field_of_the_contract(client: Client, package: Path) -> None:
    answer = client.predict(GOOD["png"], patient_id="4711")
    manifest = load_manifest(package)
    assert answer.model.digest == manifest.digest == client.model().digest
    assert tuple(answer.probabilities) == manifest.labels == client.model().labels
    assert answer.confidence == max(answer.probabilities.values()) == answer.probabilities[answer.prediction]
    assert answer.uncertainty is not None
    assert 0 <= answer.uncertainty.entropy <= 1
    assert answer.notice == NOTICE
    assert len(answer.request_id) == 36


def test_the_routes_about_the_service_are_read(client: Client) -> None:
    health = client.health()
    assert health.ready
    assert health.model is not None
    assert set(health.checks) >= {"model", "keys", "audit"}
    client.predict(GOOD["png"])
    assert client.metrics()
    assert client.drift_report()


def test_a_heat_map_is_given_where_the_package_can_explain(client: Client) -> None:
    if "explain" in client.model().parts:
        explanation = client.explain(GOOD["png"]).explanation
        assert explanation is not None
        assert explanation.frame.startswith(b"\x89PNG")
        assert explanation.overlay.startswith(b"\x89PNG")
    else:
        with pytest.raises(ServiceProblem, match="404 part_missing"):
            client.explain(GOOD["png"])


def test_many_films_are_answered_as_single_ones_are_and_bad_ones_keep_their_code(client: Client) -> None:
    sent = [*GOOD.values(), *(data for data, _, _ in BAD.values())]
    together = list(client.predict_many(sent))
    assert len(together) == len(sent)
    for data, found in zip(GOOD.values(), together, strict=False):
        assert isinstance(found, Answer)
        assert found.probabilities == pytest.approx(client.predict(data).probabilities, abs=1e-5)
    for (_, status, code), found in zip(BAD.values(), together[len(GOOD) :], strict=True):
        assert isinstance(found, ServiceProblem)
        assert (found.status, found.code) == (status, code)


def test_a_stranger_is_told_so(server: Server) -> None:
    with Client(server.url, "no-key-of-anybody") as stranger, pytest.raises(ServiceProblem, match="401 unauthorized"):
        list(stranger.predict_many([GOOD["png"], GOOD["jpeg"]]))


def test_a_folder_gives_what_the_package_gives_here(
    client: Client, folder: Path, package: Path, server: Server, tmp_path: Path
) -> None:
    served = predict_folder(folder, ServedModel(client, LARGEST), tmp_path / "served.parquet", concurrency=3)
    local = predict_folder(folder, LocalModel(package, load_settings()), tmp_path / "local.parquet")
    ours, theirs = (pd.read_parquet(found.out) for found in (served, local))
    assert ours["file"].tolist() == theirs["file"].tolist()
    wide = ours["file"] == "bad_wide.jpg"  # training takes films that are too wide for the service (report 7.2)
    ours, theirs = ours[~wide], theirs[~wide]
    assert ours["error"].eq("").sum() == len(GOOD) + 15
    for column in ("sha256", "prediction", "model", "version"):
        assert ours[column].tolist() == theirs[column].tolist()
    numbers = [name for name in ours if name.startswith("p_") or name == "confidence"]
    pd.testing.assert_frame_equal(ours[numbers], theirs[numbers], atol=1e-5)
    again = predict_folder(folder, ServedModel(client, LARGEST), tmp_path / "served.parquet")
    assert again.asked == 0
    assert "Doe" not in server.said()


@pytest.mark.slow
def test_a_limit_of_requests_only_makes_a_folder_slower(
    bento: dict[str, str], service_settings: dict[str, str], key: str, folder: Path, tmp_path: Path
) -> None:
    changes = {
        **service_settings,
        "BENTOML_HOME": bento["home"],
        "CXR_SERVICE__STATE_DIR": str(tmp_path / "state"),
        "CXR_SERVICE__RATE_LIMIT": "2/second",
    }
    with serve(bento["tag"], tmp_path, changes) as limited:
        with Client(limited.url, key, retries=Retries(attempts=60), max_files=4) as patient:
            found = predict_folder(folder, ServedModel(patient, LARGEST), tmp_path / "out.csv", concurrency=4)
        assert len(found.rows) == len(GOOD) + len(BAD) + 15
        assert not {"too_many_requests", "rate_limited", "overloaded"} & set(found.errors)
        assert " 429 " in limited.said()
