"""Starting the training process and hearing from it while it works."""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError  # not public in the pinned version, a plain Exception

__all__ = ["train_in_a_process", "training_command"]

_WORKER = "cxr_assets.training.worker"


class _Live(dg.PipesTempFileMessageReader):
    """Hands each custom message over when it arrives; Dagster's own reader keeps them until the process has ended."""

    def __init__(self, hear: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._hear = hear

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        """Read through a handler that listens too."""
        with super().read_messages(_Listening(handler, self._hear)) as params:  # type: ignore[arg-type]
            yield params


class _Listening:
    """A message handler before Dagster's own."""

    def __init__(self, handler: Any, hear: Callable[[Mapping[str, Any]], None]) -> None:
        self._handler, self._hear = handler, hear

    def handle_message(self, message: Any) -> None:
        """Listen, then pass on."""
        if message["method"] == "report_custom_message":
            self._hear(message["params"]["payload"])
        self._handler.handle_message(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


def training_command(job: Path, processes: int) -> list[str]:
    """The command of one training process, or of torchrun with several."""
    if processes == 1:
        return [sys.executable, "-m", _WORKER, str(job)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*torchrun, "-m", _WORKER, str(job)]


def train_in_a_process(
    context: dg.AssetExecutionContext, job: Path, processes: int, on_epoch: Callable[[dict[str, Any]], None]
) -> None:
    """Run a training job to its end.

    Its log lines appear in Dagster as they come. Each epoch is handed to ``on_epoch``, and observed on the asset, so
    that the UI draws its numbers while the training runs.

    Args:
        context: of the asset.
        job: the job's file.
        processes: how many train together.
        on_epoch: called with each epoch's history, on the thread that reads messages.

    Raises:
        dagster.Failure: the training ended with an error, in its own words.
    """
    from cxr_core.progress import terminal_name
    from cxr_core.training.worker import TERMINAL

    errors: list[str] = []

    def hear(payload: Mapping[str, Any]) -> None:
        if error := payload.get("error"):
            errors.append(str(error))
        if epoch := payload.get("epoch"):
            numbers = {name: value for name, value in epoch.items() if value is not None}
            context.log_event(dg.AssetObservation(context.asset_key, metadata=numbers))
            on_epoch(dict(epoch))

    terminal = terminal_name()
    client = dg.PipesSubprocessClient(
        env={TERMINAL: terminal} if terminal else {}, message_reader=_Live(hear), termination_timeout_seconds=60
    )
    command = training_command(job, processes)
    context.log.info(f"training in a process of its own: {' '.join(command)}")
    try:
        client.run(context=context, command=command)
    except DagsterPipesExecutionError as error:
        raise dg.Failure(_reason(errors, str(error)), allow_retries=not errors) from None


def _reason(errors: list[str], status: str) -> str:
    if errors:
        return errors[0]
    killed = f"code {-signal.SIGKILL}"
    memory = " (killed: by hand, or for want of memory)" if killed in status else ""
    return f"{status}{memory}. Its checkpoint is kept: materialise trained_model again to go on from it."
