"""From a flagged film to a corrected label, over a real service: each step by who may take it."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import films
import httpx
import numpy as np
import pytest
from PIL import Image
from serving import Server, environment

from bentoml_service.security import create_key
from cxr_core.digests import digest_bytes

CANARY = "DOE-JANE-19560412"


def test_a_flagged_film_is_corrected_and_its_label_exported(
    server: Server, key: str, key_path: Path, secrets_path: Path, tmp_path: Path
) -> None:
    keys = {role: create_key(key_path, f"review-{role}", role) for role in ("technician", "radiologist")}
    film = films.film(321, 234, seed=77)
    with httpx.Client(base_url=server.url, timeout=60) as client:

        def ask(role: str, method: str, path: str, **more: object) -> httpx.Response:
            return client.request(method, path, headers={"X-API-Key": keys[role]}, **more)  # type: ignore[arg-type]

        files = {"file": (f"{CANARY}.png", film)}
        answer = ask("technician", "POST", "/predict", files=files, data={"patient_id": CANARY}).json()
        assert [warning["code"] for warning in answer["warnings"]] == ["low_confidence"]
        case_id = answer["review"]["case"]
        again = ask("technician", "POST", "/predict", files=files).json()
        assert again["review"]["case"] == case_id

        address = f"/review/cases/{case_id}"
        assert ask("technician", "GET", address).status_code == 403
        assert client.get(address).status_code == 401
        case = ask("radiologist", "GET", address).json()
        assert (case["prediction"], case["probabilities"]) == (answer["prediction"], answer["probabilities"])
        kept = ask("radiologist", "GET", f"{address}/film")
        assert kept.headers["cache-control"] == "no-store"
        with Image.open(io.BytesIO(kept.content)) as opened:
            assert (np.asarray(opened) == films.pixels(321, 234, seed=77)).all()
        overlay = ask("radiologist", "GET", f"{address}/overlay")
        assert (overlay.status_code, overlay.json()["code"]) == (404, "part_missing")

        right = next(label for label in case["probabilities"] if label != case["prediction"])
        body = {"action": "correct", "label": right, "comment": f"{CANARY}: clear"}
        assert ask("technician", "POST", f"{address}/decision", json=body).status_code == 403
        decided = ask("radiologist", "POST", f"{address}/decision", json=body).json()
        assert decided["decision"]["by"] == "review-radiologist"
        listed = ask("radiologist", "GET", "/review/cases?state=decided").json()
        assert case_id in [one["id"] for one in listed["cases"]]

    state = server.log.parent / "state"
    changes = {"CXR_SECRETS": str(secrets_path), "CXR_SERVICE__STATE_DIR": str(state)}
    command = [sys.executable, "-m", "bentoml_service.review.commands", "export", "--out", str(tmp_path / "labels")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(**changes))
    assert done.returncode == 0, done.stderr
    (table,) = (tmp_path / "labels").glob("labels-000001-*.csv")
    rows = {row["content_digest"]: row for row in csv.DictReader(table.open(newline=""))}
    row = rows[digest_bytes(film)]
    assert (row["label"], row["reviewer"], row["model_digest"]) == (
        right,
        "review-radiologist",
        answer["model"]["digest"],
    )

    written = [path for path in server.log.parent.rglob("*") if path.is_file()]
    assert state / "review.sqlite" in written
    for path in (*written, table):
        assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_a_case_cannot_be_changed_in_any_other_way(server: Server, key: str, method: str) -> None:
    answer = httpx.request(method, f"{server.url}/review/cases/x", headers={"X-API-Key": key}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
