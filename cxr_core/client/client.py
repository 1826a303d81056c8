"""The prediction service as a Python object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from cxr_core.client.answers import Answer, Batch, BatchItem, Health, ModelCard, Problem
from cxr_core.client.errors import ServiceProblem
from cxr_core.client.retries import Retries
from cxr_core.client.transport import Transport
from cxr_core.errors import explain_os_errors
from cxr_core.settings_service import ServiceSettings

__all__ = ["MAX_BODY", "Client"]

_LIMITS = ServiceSettings()
_NAME = "film"  # sent in place of a file's name, which may hold a patient's
MAX_BODY = 32_000_000  # bytes of films in one batch; our choice: three of the largest films, dozens of usual ones

_T = TypeVar("_T", bound=BaseModel)


class Client:
    """A client of one prediction service; use it as a context manager. Its methods may be called from several threads.

    File names are never sent, redirects are not followed, certificates are verified. A request that met a limit, an
    overload or a broken connection is sent again, which is harmless: predictions change nothing but the audit trail.

    Args:
        url: of the service, ``https://host`` or with a path where a proxy gives it one.
        key: the API key; it goes into a header and nowhere else.
        timeout: seconds until an answer has to begin, or go on.
        ca: PEM file of the authority that signed the service's certificate, where the usual ones did not.
        retries: how often and how patiently.
        max_files: films of one batch (report 7.2).
        max_body: bytes of films in one batch.
    """

    def __init__(
        self,
        url: str,
        key: str,
        timeout: float = 60.0,
        *,
        ca: Path | str | None = None,
        retries: Retries | None = None,
        max_files: int = _LIMITS.max_files,
        max_body: int = MAX_BODY,
    ) -> None:
        self.max_files = max_files
        self.max_body = max_body
        self._retries = retries or Retries()
        self._transport = Transport(url, key, timeout, Path(ca) if ca else None, self._retries)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._transport.url!r})"

    def close(self) -> None:
        """Close the connections; waits in other threads end with an error."""
        self._transport.close()

    # ------------------------------------------------------------------ predictions
    def predict(self, film: bytes | Path | str, patient_id: str | None = None) -> Answer:
        """Classify one film.

        Args:
            film: the content of a JPEG, PNG or DICOM file, or its path.
            patient_id: becomes a pseudonym in the audit trail, and is used for nothing else.

        Raises:
            ServiceProblem: the film or the request was refused.
            ServiceUnreachable: no answer came.
        """
        return self._film("/predict", film, patient_id)

    def explain(self, film: bytes | Path | str, label: str | None = None, patient_id: str | None = None) -> Answer:
        """Classify one film and show where the model looked.

        Args:
            film: as for :meth:`predict`.
            label: the class to explain; the predicted one by default.
            patient_id: as for :meth:`predict`.

        Raises:
            ServiceProblem: as :meth:`predict`; 404 ``part_missing`` where the model cannot explain.
        """
        return self._film("/predict/explain", film, patient_id, params={"label": label} if label else None)

    def predict_many(self, films: Iterable[bytes | Path | str]) -> Iterator[Answer | ServiceProblem]:
        """Classify films in batches, as many as fit; a film that is refused gives its problem, in its place.

        Raises:
            ServiceProblem: the request as such was refused, for example the key.
            ServiceUnreachable: no answer came.
        """
        group: list[bytes] = []
        for data in map(_content, films):
            if group and (len(group) >= self.max_files or sum(map(len, group)) + len(data) > self.max_body):
                yield from self.predict_group(group)
                group = []
            group.append(data)
        yield from self.predict_group(group)

    def predict_group(self, films: Sequence[bytes]) -> list[Answer | ServiceProblem]:
        """Classify as many films as one request takes; the answers in the order of the films.

        Films that the service had no room for are sent again; where a whole batch is refused, its films go one by one.

        Raises:
            as :meth:`predict_many`.
        """
        found: dict[int, Answer | ServiceProblem] = {}
        left, tried, spent = list(range(len(films))), 0, 0.0
        while left:
            for place, answer in zip(left, self._batch([films[place] for place in left]), strict=True):
                found[place] = answer
            left = [place for place in left if _come_again(found[place])]
            tried += 1
            wait = self._retries.wait(tried, None, spent) if left else None
            if wait is None:
                break
            self._transport.pause(wait)
            spent += wait
        return [found[place] for place in range(len(films))]

    def _batch(self, films: Sequence[bytes]) -> list[Answer | ServiceProblem]:
        if len(films) == 1:
            return [self._alone(films[0])]
        try:
            answer = self._transport.ask("POST", "/batch_predict", files=[("file", (_NAME, film)) for film in films])
        except ServiceProblem as problem:
            if problem.items:
                return _complete([_read(BatchItem, item) for item in problem.items], len(films), None)
            if not problem.of_a_film:
                raise
            return [self._alone(film) for film in films]  # one of them is to blame: the others are not lost
        batch = _parse(Batch, answer)
        return _complete(batch.items, len(films), batch)

    def _alone(self, film: bytes) -> Answer | ServiceProblem:
        try:
            return self.predict(film)
        except ServiceProblem as problem:
            if not problem.of_a_film:
                raise
            return problem

    def _film(self, path: str, film: bytes | Path | str, patient_id: str | None, **arguments: Any) -> Answer:
        files = {"file": (_NAME, _content(film))}
        data = {"patient_id": patient_id} if patient_id else None
        return _parse(Answer, self._transport.ask("POST", path, files=files, data=data, **arguments))

    # ------------------------------------------------------------------ the service itself
    def health(self) -> Health:
        """How the service is, also when it is not ready; asked once."""
        answer = self._transport.ask("GET", "/health", also=(httpx.codes.SERVICE_UNAVAILABLE,))
        try:
            return _parse(Health, answer)
        except ServiceProblem:
            if answer.is_success:
                raise
            return Health(status="not_ready")  # a problem, or a proxy whose service is away

    def model(self) -> ModelCard:
        """What the package of the served model says of itself."""
        return _parse(ModelCard, self._transport.ask("GET", "/model"))

    def metrics(self) -> dict[str, Any]:
        """Latencies (ms), throughput, error rate, availability and counts, by name; for technicians and admins."""
        return _mapping(self._transport.ask("GET", "/metrics"))

    def drift_report(self) -> dict[str, Any]:
        """Statistics of the latest predictions, compared to the model's reference where it has one; as metrics."""
        return _mapping(self._transport.ask("GET", "/drift_report"))


def _content(film: bytes | Path | str) -> bytes:
    if isinstance(film, bytes):
        return film
    with explain_os_errors(film, "reading the film"):
        return Path(film).read_bytes()


def _come_again(found: Answer | ServiceProblem) -> bool:
    return isinstance(found, ServiceProblem) and found.transient


def _complete(items: Sequence[BatchItem], count: int, batch: Batch | None) -> list[Answer | ServiceProblem]:
    by_index: dict[int, Answer | ServiceProblem] = {}
    for item in items:
        try:
            answer = batch.answer(item) if batch else None
        except ValidationError as error:
            raise _unexpected() from error
        problem = item.problem or Problem(status=200, code="unexpected_answer")
        request_id = problem.request_id or (batch.request_id if batch else "")
        by_index[item.index] = answer or ServiceProblem(problem.status, problem.code, problem.detail, request_id)
    if sorted(by_index) != list(range(count)):
        raise _unexpected()
    return [by_index[place] for place in range(count)]


def _parse(kind: type[_T], answer: httpx.Response) -> _T:
    try:
        return _read(kind, answer.json())
    except ValueError as error:
        raise _unexpected() from error


def _read(kind: type[_T], value: Any) -> _T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _unexpected() from error


def _mapping(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise _unexpected() from error
    if not isinstance(value, dict):
        raise _unexpected()
    return value


def _unexpected() -> ServiceProblem:
    detail = "The answer is not one of the prediction service: check the URL, and that client and service fit."
    return ServiceProblem(200, "unexpected_answer", detail)
