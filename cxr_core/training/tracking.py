"""Experiment tracking with MLflow (report 8.3). It never stops the work, and what MLflow misses it gets later."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from cxr_core.errors import CxrError
from cxr_core.store import ArtefactStore
from cxr_core.training.processes import process_mark
from cxr_core.training.tracking_client import (
    PROCESS,
    RECORD,
    Birth,
    Event,
    close_dead_runs,
    deliver,
    experiment_id,
    find_or_make,
    is_refusal,
    make,
    milliseconds,
    open_client,
    without_password,
)
from cxr_core.training.tracking_outbox import Kept, Outbox
from cxr_core.training.tracking_run import Run
from cxr_core.training.tracking_upload import Away, refusal, upload

__all__ = ["EXPERIMENT", "Run", "Tracker"]

EXPERIMENT = "cxr"  # of the pipeline

_logger = logging.getLogger("cxr")


class Tracker:
    """Runs of one MLflow experiment.

    Uses the client alone: no global tracking URI, no active run, no autologging, no ``./mlruns``. With a SQLite URI
    the folder is created, and artefacts lie in ``artifacts`` beside the database.

    After a first failure MLflow is left alone. What it should have got is kept in the store from then on, each call's
    before the call returns, and handed over by the next tracker that connects.

    Args:
        uri: MLflow tracking URI, for example ``sqlite:////data/mlflow/mlflow.db`` or ``http://host:5000``.
        experiment: its name.
        warn: told in one sentence when tracking fails; default the ``cxr`` logger.
        store: keeps what MLflow could not take; without one that is lost.

    Attributes:
        uploaded: how many runs got something that the store had kept, when this tracker connected.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        warn: Callable[[str], None] | None = None,
        store: ArtefactStore | None = None,
    ) -> None:
        self.uri = uri
        self.experiment = experiment
        self.uploaded = 0
        self._warn = warn or _logger.warning
        self._outbox = Outbox(store) if store else None
        self._lock = threading.RLock()
        self._client: Any = None
        self._experiment_id = ""
        self._failed = False
        self._told: set[str] = set()  # subjects that were warned of

    @property
    def failed(self) -> bool:
        """Whether tracking has given up."""
        return self._failed

    def connect(self) -> bool:
        """Reach the server, make the experiment where it is missing, and upload what the store kept.

        Returns:
            False where MLflow is away.
        """
        with self._lock:
            if self._client is None and not self._failed:
                try:
                    self._connect()
                except Exception as error:  # MLflow, SQLAlchemy, the system and HTTP clients all raise their own
                    self._give_up(error)
            return not self._failed

    def attach(self, run_id: str = "", name: str = "", tag: tuple[str, str] = ("", "")) -> Run:
        """A run that somebody else opened, and will end.

        Args:
            run_id: MLflow's, where it is known.
            name: for a run that has to be made, because MLflow was away when it should have been opened.
            tag: name and value of a tag that finds the run, and that it gets when it has to be made.
        """
        marks = {tag[0]: tag[1], PROCESS: process_mark()} if tag[0] else {}
        return Run(self, Birth(name, marks, milliseconds(), tag[0], tag[1] or run_id), run_id)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str] | None = None, parent: Run | None = None) -> Iterator[Run]:
        """A run, nested under ``parent`` where one is given; it ends as FAILED where the block raises, or as KILLED."""
        record = uuid.uuid4().hex
        marks = {**{key: str(value) for key, value in (tags or {}).items()}, RECORD: record, PROCESS: process_mark()}
        birth = Birth(name, marks, milliseconds(), RECORD, record, parent.birth if parent else None)
        run = Run(self, birth)
        self._begin(run, parent)
        status = "KILLED"
        try:
            yield run
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            run.end(status)

    def _connect(self) -> None:
        client = open_client(self.uri)
        self._experiment_id = experiment_id(client, self.uri, self.experiment)
        if self._outbox:
            try:
                self.uploaded = upload(self._outbox, client, self.uri, self._warn)
            except Away as away:
                raise (away.__cause__ or away) from None
            except Exception as error:  # of the store, whatever it lies on: no reason to leave MLflow alone
                self.warn_once("store", f"The store would not give up what it keeps for MLflow ({_kind(error)}).")
        close_dead_runs(client, self._experiment_id)
        self._client = client

    def _begin(self, run: Run, parent: Run | None) -> None:
        with self._lock:
            if self.connect():
                try:
                    above = (parent.run_id or self._find(parent)) if parent else ""
                    run.run_id = make(self._client, self._experiment_id, run.birth, above)
                    return
                except Exception as error:
                    self._give_up(error)
            self._keep(run, [])

    def _find(self, run: Run) -> str:
        run.run_id = find_or_make(self._client, self._experiment_id, run.birth)
        return run.run_id

    def tell(self, run: Run, event: Event) -> None:
        """Hand an event to MLflow, or else to the store."""
        with self._lock:
            if self.connect():
                try:
                    deliver(self._client, run.run_id or self._find(run), event)
                    if event["kind"] == "log":
                        run.said.append(event)
                    return
                except Exception as error:
                    if is_refusal(error):
                        self.warn_once(run.writer, refusal(run.birth.name, error, self._outbox is not None))
                        self._keep(run, [event], refused=True)
                        return
                    self._give_up(error)
            self._keep(run, [event])

    def _keep(self, run: Run, events: list[Event], refused: bool = False) -> None:
        if self._outbox is None:
            return
        if not refused:  # and what MLflow has of it already, in case it comes back without: twice does no harm
            events, run.said = run.said + events, []
        run.kept += 1
        batch = {"experiment": self.experiment, "birth": asdict(run.birth), "time": milliseconds(), "events": events}
        try:
            self._outbox.keep(Kept(run.writer, run.kept, batch), refused)
        except Exception as error:  # of the store, whatever it lies on
            self.warn_once("keep", f"What MLflow misses could not be kept in the store either ({_kind(error)}).")

    def _give_up(self, error: BaseException) -> None:
        self._failed = True
        then = (
            "what it misses is kept in the store and uploaded later, by the next run or by `cxr track`."
            if self._outbox
            else "the run goes on untracked."
        )
        self.warn_once("away", f"MLflow at {without_password(self.uri)} failed ({_kind(error)}): {then}")

    def warn_once(self, subject: str, sentence: str) -> None:
        """Warn unless this tracker has warned of the subject before."""
        if subject not in self._told:
            self._told.add(subject)
            self._warn(sentence)


def _kind(error: BaseException) -> str:
    """Its type alone, since the text of foreign errors may hold a password."""
    return str(error) if isinstance(error, CxrError) else type(error).__name__
