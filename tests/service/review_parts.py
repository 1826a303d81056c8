"""Cases, keys and queues for the tests of the review queue."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import films

from bentoml_service.encryption import Cipher
from bentoml_service.key_sets import KeySet, SecretKey
from bentoml_service.review.cases import NewCase
from bentoml_service.review.queue import ReviewQueue
from cxr_core.release.predictor import Advice
from cxr_core.settings_service import ReviewSettings

LABELS = ("Normal", "Pneumonia", "Tuberculosis")
MODEL = "a" * 64
CANARY = "DOE-JANE-19560412"


def keys(*names: str) -> KeySet:
    """Encryption keys by name, the active one first."""
    made = tuple(SecretKey(name, hashlib.sha256(name.encode()).digest()) for name in names)
    return KeySet("encryption", lambda: made)


def open_queue(folder: Path, *names: str, **settings: Any) -> ReviewQueue:
    return ReviewQueue(folder / "review.sqlite", Cipher(keys(*(names or ("first",)))), ReviewSettings(**settings))


def digest_of(number: int) -> str:
    return hashlib.sha256(f"film {number}".encode()).hexdigest()


def new_case(number: int = 0, model: str = MODEL, **changes: Any) -> NewCase:
    values: dict[str, Any] = {
        "content_digest": digest_of(number),
        "film": films.film(64, 48, seed=number),
        "frame": films.film(32, 32, seed=number),
        "reasons": ("low_confidence",),
        "prediction": "Pneumonia",
        "confidence": 0.55,
        "probabilities": {"Normal": 0.4, "Pneumonia": 0.55, "Tuberculosis": 0.05},
        "warnings": (Advice(code="low_confidence", message="Confidence 0.55 is below 0.7: have a reader decide."),),
        "model_digest": model,
        "request_id": f"request-{number}",
    }
    return NewCase(**{**values, **changes})


def age(folder: Path, case_id: str, days: int) -> None:
    """Make a case older than it is."""
    with sqlite3.connect(folder / "review.sqlite") as connection:
        connection.execute(
            "UPDATE cases SET created = strftime('%Y-%m-%dT%H:%M:%f+00:00', created, ?) WHERE id = ?",
            (f"-{days} days", case_id),
        )
    connection.close()


def stored(folder: Path) -> bytes:
    """Every byte that the queue has on disk."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
