"""What MLflow could not take, kept in the artefact store until it can.

A batch is ``tracking/pending/<writer>/<number>.json``: a run (everything needed to find or to make it) and events of
it, with copies of their files in the folder ``<number>`` beside it. It is never changed once written, so that a killed
process loses nothing that it said. What MLflow refuses for good moves to ``tracking/refused``.
"""

from __future__ import annotations

import fcntl
import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from cxr_core.errors import CxrError
from cxr_core.store import ArtefactStore, write_atomically

__all__ = ["Kept", "Outbox"]

_PENDING, _REFUSED, _LOCK, _CLAIM = "pending", "refused", ".lock", "claim.json"
_CLAIM_SECONDS = 600  # after which the claim of an uploader that was killed no longer counts (object stores only)
_SETTLE_SECONDS = 1.0  # for another uploader's claim, written at the same moment, to be seen (object stores only)


@dataclass(frozen=True)
class Kept:
    """One batch in the outbox.

    Attributes:
        writer: which run, of which process, wrote it.
        number: its place among the batches of that writer.
        batch: its content.
    """

    writer: str
    number: int
    batch: dict[str, Any]


class Outbox:
    """The batches of one artefact store."""

    def __init__(self, store: ArtefactStore) -> None:
        self._store = store.root
        self._root = store.root / "tracking"
        self._local = Path(store.root.path) if store.root.protocol in ("", "file", "local") else None

    def keep(self, kept: Kept, refused: bool = False) -> None:
        """Write a batch, all of it or nothing.

        Files named by ``path`` in an event are copied beside it; objects of the store are only pointed at, since they
        never change.

        Raises:
            CxrError: no space, no permission.
        """
        relative = f"tracking/{_REFUSED if refused else _PENDING}/{kept.writer}/{kept.number:06d}"
        events = [
            self._with_files(event, f"{relative}/{place}") if "path" in event else event
            for place, event in enumerate(kept.batch["events"])
        ]
        self._put(f"{relative}.json", json.dumps({**kept.batch, "events": events}).encode())

    def pending(self) -> list[Kept]:
        """All batches, oldest first; those of one writer in its order."""
        folder = self._root / _PENDING
        found = []
        for path in folder.glob("*/*.json") if folder.exists() else ():
            with suppress(FileNotFoundError):  # another process has just uploaded it
                found.append(Kept(path.parent.name, int(path.stem), json.loads(path.read_bytes())))
        return sorted(found, key=lambda kept: (kept.batch["time"], kept.writer, kept.number))

    @contextmanager
    def with_local_files(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """An event whose file or folder lies on this machine, as it was told."""
        if "stored" not in event:
            yield event
            return
        plain = {name: value for name, value in event.items() if name != "stored"}
        if self._local:
            yield {**plain, "path": str(self._local / event["stored"])}
            return
        with tempfile.TemporaryDirectory(prefix="cxr-") as scratch:
            source, target = self._store / event["stored"], Path(scratch) / Path(event["stored"]).name
            _copy_here(source, target)
            yield {**plain, "path": str(target)}

    def drop(self, kept: Kept) -> None:
        """Forget a batch that MLflow has, and its files."""
        folder = self._root / _PENDING / kept.writer
        (folder / f"{kept.number:06d}.json").unlink(missing_ok=True)
        files = folder / f"{kept.number:06d}"
        inside = sorted(files.rglob("*"), reverse=True) if files.exists() else []  # what lies deepest first
        for path in inside:
            if path.is_file():
                path.unlink()
        if self._local:  # an object store has no folders, and there rmdir removes what is inside
            for empty in (*inside, files, folder):
                with suppress(OSError):  # a file, which is gone; or its writer has written more
                    Path(empty.path).rmdir()

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Whether this process alone uploads now.

        On a file system by a lock, which ends with its process. Object stores have none: there an uploader writes a
        claim, waits a second, and yields to whoever wrote it last; one that was killed blocks the others for ten
        minutes.
        """
        if self._local:
            lock = self._local / "tracking" / _LOCK
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("w") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
            return
        path, mine = self._root / _CLAIM, uuid.uuid4().hex
        if path.exists() and time.time() - json.loads(path.read_bytes())["time"] < _CLAIM_SECONDS:
            yield False
            return
        path.write_bytes(json.dumps({"owner": mine, "time": time.time()}).encode())
        time.sleep(_SETTLE_SECONDS)
        if json.loads(path.read_bytes())["owner"] != mine:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)

    def _with_files(self, event: dict[str, Any], relative: str) -> dict[str, Any]:
        source = Path(event["path"]).resolve()
        plain = {name: value for name, value in event.items() if name != "path"}
        if not source.exists():  # and so refused
            return plain
        if self._local and source.is_relative_to(self._local.resolve() / "objects"):
            return {**plain, "stored": source.relative_to(self._local.resolve()).as_posix()}
        if not source.is_dir():
            name = Path(event["path"]).name
            self._put(f"{relative}/{name}", source.read_bytes())
            return {**plain, "stored": f"{relative}/{name}"}
        for path in sorted(source.rglob("*")):
            if path.is_file():
                self._put(f"{relative}/{path.relative_to(source).as_posix()}", path.read_bytes())
        return {**plain, "stored": relative}

    def _put(self, relative: str, data: bytes) -> None:
        if self._local is None:
            (self._store / relative).write_bytes(data)
            return
        try:
            write_atomically(self._local / relative, data)
        except CxrError:
            if (self._local / relative).parent.is_dir():
                raise
            write_atomically(self._local / relative, data)  # an uploader had just removed the empty folder


def _copy_here(source: UPath, target: Path) -> None:
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for path in files:
        inside = target if source.is_file() else target / path.relative_to(source).as_posix()
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(path.read_bytes())
