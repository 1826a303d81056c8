"""Checkpoints: all of a training's state on disk, so that a kill costs minutes and changes nothing."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.store import write_atomically

__all__ = ["Checkpoints", "differences"]

_FILE = "checkpoint.pt"
_LOCK = "lock"
_SHOWN = 3  # differences named in an error


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested mappings, as ``name was X, is Y``; sorted by name."""
    found: list[str] = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before!r}, is {after!r}")
    return found


@dataclass(frozen=True)
class Checkpoints:
    """Where one training keeps its state: ``checkpoint.pt``, replaced atomically, readable with ``weights_only``.

    Attributes:
        folder: of this training alone; made where it is missing.
        minutes: between checkpoints inside an epoch; each epoch ends with one.
    """

    folder: Path
    minutes: float = 5.0

    @property
    def path(self) -> Path:
        """The checkpoint's file."""
        return self.folder / _FILE

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder for this process; the lock ends with the process, however that ends.

        Raises:
            CxrError: another process trains there.
        """
        with explain_os_errors(self.folder, "opening the checkpoints"):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CxrError(
                    f"Another process trains in {self.folder}: wait until it has ended, or end it."
                ) from None
            yield
        finally:
            os.close(descriptor)

    def save(self, fingerprint: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write a state.

        Args:
            fingerprint: what the training depends on: data, code, settings.
            state: tensors and plain values only.
        """
        buffer = BytesIO()
        torch.save({"fingerprint": dict(fingerprint), "state": dict(state)}, buffer)
        write_atomically(self.path, buffer.getvalue())

    def load(self, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """The state to go on from, on the CPU; None where there is none.

        Raises:
            CxrError: it is of other data, code or settings, which are named; or it cannot be read.
        """
        if not self.path.is_file():
            return None
        kept = self._read()
        if unlike := differences(kept["fingerprint"], fingerprint):
            more = f" and {len(unlike) - _SHOWN} more" if len(unlike) > _SHOWN else ""
            raise CxrError(
                f"The checkpoint {self.path} is of another training ({'; '.join(unlike[:_SHOWN])}{more}): "
                "go back to what it was made with, or delete it to begin anew."
            )
        state: dict[str, Any] = kept["state"]
        return state

    def fingerprint(self) -> dict[str, Any] | None:
        """What the checkpoint there is of; None where there is none."""
        return dict(self._read()["fingerprint"]) if self.path.is_file() else None

    def clear(self) -> None:
        """Remove the checkpoint, once what it led to is stored."""
        self.path.unlink(missing_ok=True)

    def due(self, last: float) -> bool:
        """Whether the time for the next checkpoint inside an epoch has come; ``last`` is of ``time.monotonic``."""
        return time.monotonic() - last >= self.minutes * 60

    def _read(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise CxrError(
                f"The checkpoint {self.path} cannot be read ({type(error).__name__}): delete it to begin anew."
            ) from error
        if not {"fingerprint", "state"} <= set(kept):
            raise CxrError(f"{self.path} is not a checkpoint of this project: delete it to begin anew.")
        return kept
