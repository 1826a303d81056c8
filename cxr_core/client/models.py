"""What can be asked about films: a service over HTTP, or a model package on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cxr_core.client.answers import Answer, ModelCard, ModelIdentity
from cxr_core.client.client import Client
from cxr_core.client.errors import ServiceProblem
from cxr_core.client.outcome import Outcome, Refusal
from cxr_core.errors import ImageRejected
from cxr_core.settings import Settings

__all__ = ["FilmModel", "LocalModel", "ServedModel"]


class FilmModel(Protocol):
    """Something that classifies films.

    Attributes:
        max_files: films that it is asked about at once, at most.
        max_body: bytes of them together.
        max_bytes: a film has to be smaller.
    """

    max_files: int
    max_body: int
    max_bytes: int

    def identity(self) -> ModelIdentity:
        """Which model would answer now."""

    def classify(self, films: Sequence[bytes]) -> list[Outcome]:
        """An outcome for each film, in their order; called from several threads at once.

        Raises:
            CxrError: no film can be answered.
        """

    def stop(self) -> None:
        """Let calls in other threads end soon."""


class ServedModel:
    """The model behind a client."""

    def __init__(self, client: Client, max_bytes: int) -> None:
        self.max_files = client.max_files
        self.max_body = client.max_body
        self.max_bytes = max_bytes
        self._client = client

    def card(self) -> ModelCard:
        """What the served package says of itself."""
        return self._client.model()

    def identity(self) -> ModelIdentity:
        """Which model is served now."""
        return self._client.model().identity

    def classify(self, films: Sequence[bytes]) -> list[Outcome]:
        """Ask the service about a group of films."""
        return [
            Refusal(found.code, found.detail, found.lasting) if isinstance(found, ServiceProblem) else found
            for found in self._client.predict_group(films)
        ]

    def stop(self) -> None:
        """Close the client."""
        self._client.close()


class LocalModel:
    """A model package, loaded here."""

    max_files = 1  # nothing is won by more: the network works on one film at a time
    max_body = 1 << 62

    def __init__(self, folder: Path, settings: Settings) -> None:
        from cxr_core.release.predictor import Predictor

        self.max_bytes = 1 << 62  # no network in between: what the header of a film says is limited when it is decoded
        self._limits = settings.quality
        self._predictor: Any = Predictor.load(
            folder, low_confidence=settings.service.low_confidence, operating_points=settings.service.operating_points
        )

    def identity(self) -> ModelIdentity:
        """The loaded model."""
        return ModelIdentity.model_validate(self._predictor.identity.model_dump())

    def classify(self, films: Sequence[bytes]) -> list[Outcome]:
        """Classify films one after the other."""
        return [self._one(film) for film in films]

    def _one(self, film: bytes) -> Outcome:
        try:
            found = self._predictor.predict(film, self._limits)
        except ImageRejected as error:
            return Refusal(error.code, error.reason)
        values = found.model_dump(mode="json")
        return Answer.model_validate({"prediction": values.pop("label"), **values})

    def stop(self) -> None:
        """Nothing waits here."""
