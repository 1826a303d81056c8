"""What is known of films already, kept on the disk while a folder is worked through, so that a kill loses nothing.

One JSON line a film, named by the digests of its content and of the model: no file name, nothing of a patient.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from cxr_core.client.answers import Answer
from cxr_core.client.outcome import Outcome, Refusal
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["Journal"]

_FORMAT = 1  # raise it whenever an older reader would misread the lines


class Journal:
    """Outcomes by film and model. Memory holds the place of each line alone. Several threads may use it at once.

    Args:
        path: of the file; made where it is missing.
        fresh: forget what it holds.

    Raises:
        CxrError: another process works with it, it is no journal, or the disk refuses.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str], tuple[int, int]] = {}
        with explain_os_errors(path, "opening the journal"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            self._file = os.fdopen(descriptor, "r+b")
        try:
            self._take()
            if fresh:
                self._file.truncate(0)
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def models(self) -> dict[str, int]:
        """Number of outcomes of each model, by its digest."""
        counts: dict[str, int] = {}
        for _, model in self._places:
            counts[model] = counts.get(model, 0) + 1
        return counts

    def find(self, film: str, model: str) -> Outcome | None:
        """What this model said of this film, both named by their digests; None where it was never asked."""
        place = self._places.get((film, model))
        if place is None:
            return None
        with self._lock, explain_os_errors(self.path, "reading the journal"):
            self._file.seek(place[0])
            line = self._file.read(place[1])
        values = json.loads(line)
        try:
            return Answer.model_validate(values["answer"]) if "answer" in values else Refusal(**values["refusal"])
        except (ValidationError, TypeError, KeyError) as error:
            raise self._damaged() from error

    def add(self, outcomes: Iterable[tuple[str, str, Outcome]]) -> None:
        """Keep outcomes as (film, model, outcome); they are on the disk when this returns."""
        lines: list[tuple[tuple[str, str], bytes]] = []
        for film, model, outcome in outcomes:
            values: dict[str, Any] = {"film": film, "model": model}
            if isinstance(outcome, Answer):
                values["answer"] = outcome.model_dump(mode="json", exclude_none=True)
            else:
                values["refusal"] = {"code": outcome.code, "detail": outcome.detail}
            lines.append(((film, model), json.dumps(values, separators=(",", ":")).encode() + b"\n"))
        with self._lock, explain_os_errors(self.path, "writing the journal"):
            end = self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(line for _, line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
            for key, line in lines:
                self._places[key] = (end, len(line))
                end += len(line)

    def _take(self) -> None:
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CxrError(f"Another process works with {self.path}: wait for it, or write elsewhere.") from error

    def _read(self) -> None:
        with explain_os_errors(self.path, "reading the journal"):
            self._file.seek(0)
            first = self._file.readline()
            if not first.endswith(b"\n"):  # new, or killed while it was made
                self._file.truncate(0)
                self._file.seek(0)
                self._file.write(json.dumps({"journal": _FORMAT}).encode() + b"\n")
                self._file.flush()
                return
            if self._values(first).get("journal") != _FORMAT:
                raise self._damaged()
            start = len(first)
            for line in self._file:
                if not line.endswith(b"\n"):  # killed in the middle of a line
                    self._file.truncate(start)
                    break
                values = self._values(line)
                self._places[str(values.get("film")), str(values.get("model"))] = (start, len(line))
                start += len(line)

    def _values(self, line: bytes) -> dict[str, Any]:
        try:
            values = json.loads(line)
        except ValueError as error:
            raise self._damaged() from error
        if not isinstance(values, dict):
            raise self._damaged()
        return values

    def _damaged(self) -> CxrError:
        return CxrError(f"{self.path} is not a journal of predictions: move it away, or write the results elsewhere.")
