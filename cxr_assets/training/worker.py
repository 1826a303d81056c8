"""The training process as Dagster starts it: what happens in it is told through Dagster Pipes as it happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cxr_core.errors import CxrError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the job whose file is named; returns the exit status. Only the first process speaks to Dagster."""
    from dagster_pipes import open_dagster_pipes

    from cxr_core.training.worker import run_worker

    job = Path(arguments[0])
    if os.environ.get("RANK", "0") != "0":
        try:
            run_worker(job)
        except CxrError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0
    with open_dagster_pipes() as pipes:
        try:
            run_worker(job, lambda row: pipes.report_custom_message({"epoch": row}), pipes.log.info)
        except CxrError as error:
            pipes.report_custom_message({"error": str(error)})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
