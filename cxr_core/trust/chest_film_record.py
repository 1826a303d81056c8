"""What the film detector says of itself: how it was fitted, what it promises, what was measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ARRAYS_FILE", "RECORD_FILE", "ChestFilmRecord", "DetectionRate", "ShareOfFilms"]

RECORD_FILE = "chest_film.json"
ARRAYS_FILE = "chest_film.npz"

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShareOfFilms(_Record):
    """A share with its exact interval (Clopper and Pearson, Biometrika 1934).

    Attributes:
        value, low, high: 0-1; 95 %.
        films: of how many.
    """

    value: _Share
    low: _Share
    high: _Share
    films: int = Field(ge=1)


class DetectionRate(ShareOfFilms):
    """Share of other pictures of one kind that is found to be no chest film.

    Attributes:
        auc: area under the ROC curve of the strangeness, these pictures against test films.
    """

    auc: _Share


class ChestFilmRecord(_Record):
    """Content of ``chest_film.json``.

    Attributes:
        trained_model: digest of the model whose embeddings it was fitted to.
        requested_rate: share of chest films that may be refused, as the settings ask.
        rate: the share that is promised: the requested one, or what so few calibration films allow.
        training_films, validation_films, calibration_films: fitted to, scaled by, threshold from.
        embedding_size: length of an embedding.
        arrays: file with the arrays.
        false_rejection: share of test films refused.
        detection: by kind of other picture, see :mod:`cxr_core.trust.other_pictures`.
    """

    trained_model: str
    requested_rate: float = Field(gt=0, lt=1)
    rate: float = Field(gt=0, lt=1)
    training_films: int = Field(ge=1)
    validation_films: int = Field(ge=1)
    calibration_films: int = Field(ge=1)
    embedding_size: int = Field(ge=1)
    arrays: str
    false_rejection: ShareOfFilms | None = None
    detection: dict[str, DetectionRate] = Field(default_factory=dict)
