"""One run as the code that fills it sees it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_core.training.tracking_client import Birth, Event, milliseconds

if TYPE_CHECKING:
    from cxr_core.training.tracking import Tracker

__all__ = ["Run"]


class Run:
    """One MLflow run. Its methods never raise: what MLflow could not take is kept in the store.

    Attributes:
        birth: what finds or makes the run.
        run_id: MLflow's identifier, or empty where MLflow was away.
        writer: name of this object's batches in the store.
        said: parameters, tags and metrics that MLflow has taken.
        kept: number of batches written to the store.
    """

    def __init__(self, tracker: Tracker, birth: Birth, run_id: str = "") -> None:
        self._tracker = tracker
        self.birth = birth
        self.run_id = run_id
        self.writer = uuid.uuid4().hex
        self.said: list[Event] = []
        self.kept = 0

    def params(self, values: Mapping[str, Any]) -> None:
        """Record parameters, names to anything with a text form."""
        self._log(params={name: str(value) for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        self._log(tags={name: str(value) for name, value in values.items()})

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Record numbers; what is not a number (None, text) is left out."""
        self._log(metrics=_numbers(values, step))

    def history(self, rows: Sequence[Mapping[str, Any]], step: str = "epoch") -> None:
        """Record a training history, one dict per epoch, against its ``step`` entry."""
        parts = [_numbers({k: v for k, v in row.items() if k != step}, int(row[step])) for row in rows]
        self._log(metrics=[metric for part in parts for metric in part])

    def text(self, content: str, name: str) -> None:
        """Record a text as the artefact ``name``."""
        self._tell(kind="text", content=content, name=name)

    def artefact(self, path: Path, folder: str | None = None) -> None:
        """Record a copy of a local file, inside ``folder`` of the run's artefacts."""
        if path.is_dir():
            self.folder(path, f"{folder}/{path.name}" if folder else path.name)
        else:
            self._files(path, folder)

    def folder(self, path: Path, folder: str) -> None:
        """Record a copy of a local folder as ``folder`` of the run's artefacts."""
        self._files(path, folder)

    def register(self, model: str, folder: str, tags: Mapping[str, str], aliases: Sequence[str] = ()) -> None:
        """Register an artefact folder of this run as a version of a model; one that has the same package is kept.

        Args:
            model: name of the registered model.
            folder: of the run's artefacts.
            tags: of the version; ``package_digest`` must say which package it is.
            aliases: to point at it, for example ``challenger``.
        """
        marks = {name: str(value) for name, value in tags.items()}
        self._tell(kind="register", model=model, folder=folder, tags=marks, aliases=list(aliases))

    def alias(self, model: str, package_digest: str, alias: str) -> None:
        """Point an alias, for example ``champion``, at the version that has a package."""
        self._tell(kind="alias", model=model, package_digest=package_digest, alias=alias)

    def end(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; :meth:`Tracker.run` does it by itself."""
        self._tell(kind="end", status=status, time=milliseconds())

    def _files(self, path: Path, folder: str | None) -> None:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            self._tell(kind="files", path=str(path), folder=folder)
        else:
            self._tracker.warn_once(f"no {path}", f"Run {self.birth.name}: there is nothing to record at {path}.")

    def _log(self, **given: Any) -> None:
        if any(given.values()):
            self._tell(**{"kind": "log", "params": {}, "tags": {}, "metrics": [], **given})

    def _tell(self, **event: Any) -> None:
        self._tracker.tell(self, event)


def _numbers(values: Mapping[str, Any], step: int) -> list[tuple[str, float, int, int]]:
    """Metrics as MLflow wants them: name, value, milliseconds, step."""
    now = milliseconds()
    return [(name, float(value), now, step) for name, value in values.items() if isinstance(value, Real)]
