"""What a DICOM header says of the picture: whether it is a frontal chest film, and which way up it lies.

What it says against one becomes advice and not a refusal: these tags are often wrong, and the film is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cxr_core.imaging.decoded import Grey
from cxr_core.imaging.dicom_elements import Element, Elements

__all__ = ["VIEW_TAGS", "upright", "view_notes"]

_MODALITY, _BODY_PART, _VIEW, _ORIENTATION = 0x0008_0060, 0x0018_0015, 0x0018_5101, 0x0020_0020  # PS3.6, table 6-1
_BURNED_IN = 0x0028_0301
VIEW_TAGS = frozenset({_MODALITY, _BODY_PART, _VIEW, _ORIENTATION, _BURNED_IN})

_CHEST_MODALITIES = ("", "CR", "DX", "DR", "RG")  # PS3.3, C.7.3.1.1.1; DR is no term of it but is met
_CHEST_PARTS = ("", "CHEST", "THORAX", "LUNG", "LUNGS", "TORAX", "CHEST PA", "CHEST AP", "RIB", "RIBS")
_NOT_FRONTAL = ("LATERAL", "LAT", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "OBLIQUE", "LEFT LATERAL", "RIGHT LATERAL")
_ACROSS, _DOWN = ("L", "R"), ("F", "H")


def view_notes(elements: Elements, tags: Mapping[int, Element]) -> tuple[str, ...]:
    """Codes of what the header says against a frontal chest film, or of text on it; empty tags say nothing."""

    def text(tag: int) -> str:
        return elements.text(tags[tag]) if tag in tags else ""

    notes = []
    if text(_MODALITY) not in _CHEST_MODALITIES:
        notes.append("modality")
    if text(_BODY_PART) not in _CHEST_PARTS:
        notes.append("body_part")
    lateral = bool({"A", "P"} & {value[:1] for value in text(_ORIENTATION).split("\\")})
    if text(_VIEW) in _NOT_FRONTAL or lateral:
        notes.append("view")
    if text(_BURNED_IN) == "YES":
        notes.append("burned_in")
    return tuple(notes)


def upright(grey: Grey, elements: Elements, tags: Mapping[int, Element]) -> tuple[Grey, bool]:
    """Turn a frontal film so that rows run to the patient's left and columns to the feet (PS3.3, C.7.6.1.1.1).

    Only where both directions are single letters of right, left, head and feet: then the tag leaves one way to turn,
    and it is how viewers hang the film. Anything else is left as it is.
    """
    directions = elements.texts(tags[_ORIENTATION]) if _ORIENTATION in tags else ()
    if len(directions) != 2:
        return grey, False
    if directions[0] in _DOWN and directions[1] in _ACROSS:
        grey, directions, turned = grey.T, (directions[1], directions[0]), True
    elif directions[0] in _ACROSS and directions[1] in _DOWN:
        turned = False
    else:
        return grey, False
    if directions[0] == "R":
        grey, turned = grey[:, ::-1], True
    if directions[1] == "H":
        grey, turned = grey[::-1], True
    return np.ascontiguousarray(grey), turned
