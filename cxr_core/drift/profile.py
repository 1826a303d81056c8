"""The reference profile: what films and answers looked like where the model was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr_core.errors import CxrError

__all__ = ["FEATURES", "MOST_FILMS", "FlaggedFilms", "ReferenceProfile", "read_profile"]

# What is compared as numbers: grey mean and standard deviation of the decoded film (0-255), width / height, probability
# of the predicted class (report 7.4).
FEATURES = ("mean", "std", "aspect", "confidence")

MOST_FILMS = 10_000  # of the sample: a thousand are enough (docs/metrics.md), and permuting more takes seconds

_Count = Annotated[int, Field(ge=0)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class FlaggedFilms(BaseModel):
    """How many of ``films`` had a warning (``flagged``), and how many each ``codes``."""

    model_config = ConfigDict(frozen=True)

    films: _Count
    flagged: _Count
    codes: dict[str, _Count] = {}


class ReferenceProfile(BaseModel):
    """The least that a comparison needs; further fields may stand beside these. What is empty is not compared.

    Attributes:
        features: values of a random sample of reference films by name in ``FEATURES``, as the service computes them:
            one value a film, in any order. A sample and not quantiles, because a test needs independent values.
        labels: predictions of the reference films by label.
        warnings: their warnings.
    """

    model_config = ConfigDict(frozen=True)

    features: dict[str, Annotated[tuple[_Number, ...], Field(max_length=MOST_FILMS)]] = {}
    labels: dict[str, _Count] = {}
    warnings: FlaggedFilms | None = None


def read_profile(values: Mapping[str, Any]) -> ReferenceProfile:
    """Check a reference profile.

    Raises:
        CxrError: it is none.
    """
    try:
        profile = ReferenceProfile.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CxrError(f"The reference profile is wrong at {field}: {first['msg']}; build it again.") from error
    if profile.warnings and profile.warnings.flagged > profile.warnings.films:
        raise CxrError("The reference profile has more flagged films than films: build it again.")
    return profile
