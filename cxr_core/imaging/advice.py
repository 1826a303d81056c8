"""Advice beside a prediction: what a reader should know of the film before trusting it. Every code is in ``ADVICE``."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from cxr_core.imaging.decoded import DecodedImage, Grey, mean_and_deviation
from cxr_core.imaging.quality import broken_rules
from cxr_core.settings_sections import QualitySettings

__all__ = ["ADVICE", "Advice", "border_share", "image_advice"]

_LOW_CONTRAST = 20.0  # as the service's setting
_BLACK, _WHITE = 16, 239  # nominal black and white of ITU-R BT.601, which leave room for the noise of JPEG
_SPECKS = 0.01  # of a row's pixels may differ: dust, the end of a letter
# Of the 1,487 public frontal films measured, 50 have borders of more than a tenth of their area and 12 of more than a
# quarter (0.8%); white borders of a tenth has 1.
_BORDER_SHARE = 0.25

ADVICE = {  # what the file or the film itself gives; those of the quality rules, with numbers, are in RULES
    "low_contrast": "The film has hardly any contrast: see that it is not fogged, or export it with its window.",
    "crop": "Uniform borders take more than a quarter of the picture: crop it to the film.",
    "burned_in": "The file says that text is burned into the film: it may name the patient, and the model may read it.",
    "modality": "The file says that it is not a plain radiograph: the model knows nothing else.",
    "body_part": "The file names another part of the body than the chest: the model knows nothing else.",
    "view": "The file says that the film is not frontal: the model knows frontal films only.",
    "turned": "The film was mirrored or turned upright, as its patient orientation says.",
    "window": "The window of the file cannot be used: the whole range of its values was taken.",
}


class Advice(BaseModel):
    """A warning beside a prediction: stable ``code``, ``message`` for a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str


def image_advice(
    image: DecodedImage, limits: QualitySettings, low_contrast_std: float = _LOW_CONTRAST
) -> tuple[Advice, ...]:
    """Advice on one film, in the order quality rules, contrast, borders, what the file says.

    Args:
        image: the film.
        limits: limits of the quality rules: exposure, shape, tint.
        low_contrast_std: standard deviation of the grey below which a film is fogged, 0-255; below the limit of
            ``near_uniform`` that rule speaks instead.
    """
    height, width = image.grey.shape
    mean, deviation = mean_and_deviation(image.grey)
    row = {"mean": mean, "std": deviation, "width": width, "height": height, "tint": image.tint}
    rules = broken_rules(row, limits)
    found = [Advice(code=rule.code, message=rule.reason(row, limits)) for rule in rules]
    codes = []
    if deviation < low_contrast_std and "near_uniform" not in [rule.code for rule in rules]:
        codes.append("low_contrast")
    if "near_uniform" not in [rule.code for rule in rules] and border_share(image.grey) > _BORDER_SHARE:
        codes.append("crop")
    return (*found, *(Advice(code=code, message=ADVICE[code]) for code in (*codes, *image.notes)))


def border_share(grey: Grey) -> float:
    """Share of a film's area, 0-1, that lies in black or white rows and columns along its edges.

    Args:
        grey: (height, width) uint8.
    """
    height, width = grey.shape
    masks = cv2.compare(grey, _BLACK, cv2.CMP_GT), cv2.compare(grey, _WHITE, cv2.CMP_LT)  # 255 where it is so
    inside = []
    for axis, length in ((1, width), (0, height)):
        few = _SPECKS * 255 * length
        lines = [cv2.reduce(mask, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).reshape(-1) <= few for mask in masks]
        inside.append(_inside(lines[0] | lines[1]))
    return 1 - inside[0] * inside[1] / (height * width)


def _inside(border: npt.NDArray[np.bool_]) -> int:
    """How many lines are left between the border lines of both ends."""
    film = np.flatnonzero(~border)
    return int(film[-1] - film[0] + 1) if len(film) else 0
