"""A training in a process of its own: ``python -m cxr_core.training.worker JOB.json``.

Several processes: ``torchrun --standalone --nproc-per-node 2 -m cxr_core.training.worker JOB.json``.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.progress import Log, show_bars_on

__all__ = ["TERMINAL", "main", "run_worker"]

TERMINAL = "CXR_PROGRESS_TERMINAL"  # environment: terminal that gets the bars

_ORPHANED = 3  # exit status of a training whose owner is gone
_LOOK_SECONDS = 2.0  # between looks at the owner


def run_worker(
    job_file: Path, on_epoch: Callable[[dict[str, Any]], None] | None = None, log: Log | None = None
) -> None:
    """Do the job together with the other processes of torchrun, if there are any.

    Raises:
        CxrError: as training.
    """
    from cxr_core.training.job import TrainingJob, run_job
    from cxr_core.training.ranks import joined_ranks

    if terminal := os.environ.get(TERMINAL):
        show_bars_on(Path(terminal).open("w"))  # noqa: SIM115 - open as long as the process
    job = TrainingJob.read(job_file)
    if job.owner:
        threading.Thread(target=_end_with, args=(job.owner,), name="cxr-owner", daemon=True).start()
    with joined_ranks() as ranks:
        run_job(job, ranks, on_epoch, log)


def main(arguments: Sequence[str]) -> int:
    """Run one job; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(arguments) != 1:
        sys.stderr.write("Name the job's file: python -m cxr_core.training.worker JOB.json\n")
        return 2
    try:
        run_worker(Path(arguments[0]))
    except CxrError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _end_with(owner: int) -> None:
    """End this process when its owner has ended: a training that nobody hears would hold the machine for hours."""
    while True:
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            os._exit(_ORPHANED)  # the checkpoint is whole at every moment
        except PermissionError:
            return  # alive, of another user
        time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
