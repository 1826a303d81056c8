"""Many films, several requests at a time, outcomes in the order of the films."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from cxr_core.client.answers import Answer
from cxr_core.client.films import Film
from cxr_core.client.journal import Journal
from cxr_core.client.models import FilmModel
from cxr_core.client.outcome import Origin, Outcome, Refusal, Row
from cxr_core.digests import digest_bytes, digest_file

__all__ = ["ask_about"]

_AHEAD = 2  # groups read ahead for each request under way: the next one is ready when a request ends


@dataclass
class _Group:
    """Films of one request, and later their outcomes."""

    films: dict[str, bytes] = field(default_factory=dict)
    answered: Future[dict[str, Outcome]] | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.films.values()))


@dataclass(frozen=True)
class _Place:
    """A row that is being made: its outcome is known, or comes with a group."""

    film: Film
    digest: str
    origin: Origin
    known: Outcome | None = None
    group: _Group | None = None


def ask_about(
    films: Iterable[Film], model: FilmModel, model_digest: str, journal: Journal | None = None, concurrency: int = 2
) -> Iterator[Row]:
    """A row for each film, in their order; equal files are asked about once.

    Args:
        films: the files; each is read once, a few groups ahead of the requests.
        model: what to ask.
        model_digest: of the model that is expected to answer: what the journal has of it is not asked again.
        journal: where outcomes are found and kept.
        concurrency: requests under way at the same time.

    Raises:
        CxrError: the model cannot answer any film.
    """
    places: deque[_Place] = deque()
    under_way: dict[str, _Group] = {}
    group = _Group()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="cxr-ask")

    def send() -> None:
        nonlocal group
        if group.films:
            group.answered = pool.submit(_answer, group.films, model, model_digest, journal)
        group = _Group()

    try:
        for film in films:
            place, data = _look(film, model, model_digest, journal, under_way)
            if data is not None:
                if group.films and (len(group.films) >= model.max_files or group.size + len(data) > model.max_body):
                    send()
                group.films[place.digest] = data
                under_way[place.digest] = group
                place = _Place(film, place.digest, "asked", group=group)
                if len(group.films) >= model.max_files:
                    send()
            places.append(place)
            groups = len({id(each) for each in under_way.values()})
            yield from _ready(places, under_way, wait=groups > _AHEAD * concurrency)
        send()
        while places:
            yield from _ready(places, under_way, wait=True)
    except BaseException:
        model.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _look(
    film: Film, model: FilmModel, model_digest: str, journal: Journal | None, under_way: dict[str, _Group]
) -> tuple[_Place, bytes | None]:
    """What is known of a film; its content where it has to be sent."""
    try:
        large = film.path.stat().st_size >= model.max_bytes
        data = b"" if large else film.path.read_bytes()
        digest = digest_file(film.path) if large else digest_bytes(data)
    except OSError:
        reason = "The file cannot be read: look at its permissions, or whether it is still there."
        return _Place(film, "", "here", Refusal("unreadable", reason, lasting=False)), None
    if large:
        refusal = Refusal("body_too_large", f"The file must be smaller than {model.max_bytes} bytes.", lasting=False)
        return _Place(film, digest, "here", refusal), None
    if digest in under_way:
        return _Place(film, digest, "copy", group=under_way[digest]), None
    known = journal.find(digest, model_digest) if journal else None
    return _Place(film, digest, "journal", known), None if known else data


def _answer(
    films: dict[str, bytes], model: FilmModel, model_digest: str, journal: Journal | None
) -> dict[str, Outcome]:
    found = dict(zip(films, model.classify(list(films.values())), strict=True))
    if journal:
        journal.add(
            (digest, outcome.model.digest if isinstance(outcome, Answer) else model_digest, outcome)
            for digest, outcome in found.items()
            if isinstance(outcome, Answer) or outcome.lasting
        )
    return found


def _ready(places: deque[_Place], under_way: dict[str, _Group], wait: bool) -> Iterator[Row]:
    """Rows from the front of the line that are known; with ``wait`` the first group is waited for."""
    while places:
        place = places[0]
        origin: Origin = place.origin
        if place.known is not None:
            outcome = place.known
        else:
            assert place.group is not None
            answered = place.group.answered
            if answered is None or not (wait or answered.done()):
                return
            outcome = answered.result()[place.digest]
            wait = False
            if under_way.pop(place.digest, None) is not None:
                place.group.films.pop(place.digest, None)  # its bytes are not needed any more
        places.popleft()
        yield Row(place.film.name, place.digest, outcome, origin)
