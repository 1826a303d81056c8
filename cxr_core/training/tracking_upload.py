"""Uploading what the outbox kept: the same runs, metrics, times and files as if MLflow had never been away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from cxr_core.training.tracking_client import Birth, Event, deliver, experiment_id, find_or_make, is_refusal
from cxr_core.training.tracking_outbox import Kept, Outbox

__all__ = ["Away", "refusal", "upload"]

_LONGEST = 200  # characters of MLflow's reason that a sentence shows


class Away(Exception):
    """MLflow went away; its own error is the cause."""


def upload(outbox: Outbox, client: Any, uri: str, warn: Callable[[str], None]) -> int:
    """Hand all batches of the outbox to MLflow, oldest first, and forget each when MLflow has it.

    A run is found again by its tag, so that a half-written one is completed and an upload that was cut short can be
    done again. Does nothing while another process uploads.

    Returns:
        How many runs got something.

    Raises:
        Away: MLflow went away; what it has not got is still kept.
        OSError, CxrError: the store cannot be read or written.
    """
    if not outbox.pending():
        return 0
    runs: dict[tuple[str, str], str] = {}
    with outbox.claim() as alone:
        for kept in outbox.pending() if alone else ():
            with ExitStack() as stack:
                told = [stack.enter_context(outbox.with_local_files(event)) for event in kept.batch["events"]]
                refused, reason = _hand_over(client, uri, {**kept.batch, "events": told}, runs)
                if refused:
                    outbox.keep(Kept(kept.writer, kept.number, {**kept.batch, "events": refused}), refused=True)
                    warn(refusal(kept.batch["birth"]["name"], reason))
            outbox.drop(kept)
    return len(runs)


def refusal(name: str, error: Exception, kept: bool = True) -> str:
    """A sentence that says what MLflow will never take from a run, and whether the store keeps it."""
    lines = str(error).splitlines() or [type(error).__name__]
    where = ", which stays in tracking/refused of the store" if kept else ""
    return f"MLflow refuses a part of run {name}{where}: {lines[0][:_LONGEST]}"


def _hand_over(
    client: Any, uri: str, batch: dict[str, Any], runs: dict[tuple[str, str], str]
) -> tuple[list[Event], Exception]:
    """The events that MLflow refused, and why the last of them."""
    birth = Birth.from_dict(batch["birth"])
    refused: list[Event] = []
    reason = Exception()
    try:
        experiment = experiment_id(client, uri, batch["experiment"])
        if (birth.tag, birth.value) not in runs:
            runs[birth.tag, birth.value] = find_or_make(client, experiment, birth)
    except Exception as error:
        if not is_refusal(error):
            raise Away from error
        return batch["events"], error
    for event in batch["events"]:
        try:
            deliver(client, runs[birth.tag, birth.value], event)
        except Exception as error:
            if not is_refusal(error):
                raise Away from error
            refused.append(event)
            reason = error
    return refused, reason
