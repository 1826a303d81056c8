"""Decode one DICOM film to 8-bit grey: header first, then the pixels, nothing else.

Only the tags named below are looked at; names, dates, identifiers, comments and private tags are stepped over. What the
header says against a frontal chest film becomes advice and not a refusal: such tags are often wrong, the film counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from PIL import Image

from cxr_core.errors import ImageRejected
from cxr_core.imaging.decoded import DecodedImage, Header, check_size, colour_to_grey
from cxr_core.imaging.dicom_elements import Element, Elements, corrupt, transfer_syntax
from cxr_core.imaging.dicom_grey import Depth, GreyRules, LookUp, Window, to_grey
from cxr_core.imaging.dicom_pixels import NATIVE, Layout, pixels
from cxr_core.imaging.dicom_view import VIEW_TAGS, upright, view_notes
from cxr_core.settings_sections import QualitySettings

__all__ = ["decode_dicom"]

# PS3.6, table 6-1.
_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x0028_0002, 0x0028_0004, 0x0028_0006, 0x0028_0008
_ROWS, _COLUMNS, _ALLOCATED, _STORED, _HIGH = 0x0028_0010, 0x0028_0011, 0x0028_0100, 0x0028_0101, 0x0028_0102
_SIGNED, _PADDING, _PADDING_LIMIT = 0x0028_0103, 0x0028_0120, 0x0028_0121
_CENTER, _WIDTH, _FUNCTION = 0x0028_1050, 0x0028_1051, 0x0028_1056
_INTERCEPT, _SLOPE, _MODALITY_LUT, _VOI_LUT = 0x0028_1052, 0x0028_1053, 0x0028_3000, 0x0028_3010
_LUT_DESCRIPTOR, _LUT_DATA = 0x0028_3002, 0x0028_3006
_PIXEL_DATA = 0x7FE0_0010
_TAGS = frozenset(
    VIEW_TAGS
    | {_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _ALLOCATED}
    | {_STORED, _HIGH, _SIGNED, _PADDING, _PADDING_LIMIT, _CENTER, _WIDTH, _FUNCTION, _INTERCEPT, _SLOPE}
    | {_MODALITY_LUT, _VOI_LUT}
)

_DEFLATED = "1.2.840.10008.1.2.1.99"
_JPEG, _JPEG_2000 = "1.2.840.10008.1.2.4.5", "1.2.840.10008.1.2.4.9"  # beginnings of their transfer syntaxes


def decode_dicom(data: bytes, limits: QualitySettings) -> DecodedImage:
    """Decode a DICOM film to upright 8-bit grey.

    Args:
        data: a file of PS3.10, with its preamble.
        limits: smallest and largest sizes, judged before a pixel is decoded.

    Returns:
        The film, its ``notes`` among ``modality``, ``body_part``, ``view``, ``burned_in``, ``window``, ``turned``.

    Raises:
        ImageRejected: ``corrupt``, ``truncated``, ``no_pixels``, ``multi_frame``, ``too_small``, ``too_large``,
            ``too_many_scans``, ``dicom_encoding`` (this way of compression cannot be read) or ``dicom_pixels``
            (pixels of a kind that no chest film has).
    """
    syntax, start = transfer_syntax(data)
    if syntax == _DEFLATED:  # nothing gains by it, and kilobytes of it can inflate to gigabytes
        raise ImageRejected(
            "dicom_encoding", "The DICOM file is deflated: convert it to the transfer syntax Explicit VR Little Endian."
        )
    explicit, little = NATIVE.get(syntax, (True, True))
    elements = Elements(data, explicit or _looks_explicit(data, start), little)
    tags, place = _walk(elements, start)
    layout = _layout(elements, tags, syntax, limits)
    pixel_data = elements.at(place) if place + 8 <= len(data) else None
    if pixel_data is None or pixel_data.tag != _PIXEL_DATA:
        raise _no_pixels()
    notes = view_notes(elements, tags)
    rules, window_lost = _rules(elements, tags, layout)
    raw, depth = pixels(elements, pixel_data.start, pixel_data.end, pixel_data.undefined, syntax, layout)
    if layout.samples == 3:
        grey, tint = colour_to_grey(Image.fromarray(raw.astype(np.uint8)))
    else:
        grey, tint = to_grey(raw, replace(rules, depth=depth)), 0.0
    grey, turned = upright(grey, elements, tags)
    notes += ("window",) * window_lost + ("turned",) * turned
    header = Header("DICOM", layout.photometric, layout.columns, layout.rows, 1)
    return DecodedImage(grey, header, tint, layout.depth.stored, notes)


def _looks_explicit(data: bytes, start: int) -> bool:
    """Whether a file that calls itself implicit is not: the type is a pair of capitals where the length would be."""
    kind = data[start + 4 : start + 6]
    return len(kind) == 2 and kind.isalpha() and kind.isupper()


def _walk(elements: Elements, start: int) -> tuple[dict[int, Element], int]:
    """The wanted elements, and the place of the pixel data."""
    found: dict[int, Element] = {}
    for element in elements.walk(start):
        start = element.end
        if element.tag in _TAGS:
            found[element.tag] = element
    return found, start


def _layout(elements: Elements, tags: Mapping[int, Element], syntax: str, limits: QualitySettings) -> Layout:
    def number(tag: int, default: int | None = None) -> int:
        if tag in tags:
            return elements.integers(tags[tag])[0]
        if default is None:
            raise corrupt()
        return default

    if _ROWS not in tags or _COLUMNS not in tags:
        raise _no_pixels()
    rows, columns = number(_ROWS), number(_COLUMNS)
    frames = elements.decimals(tags[_FRAMES]) if _FRAMES in tags else ()
    if frames and frames[0] != 1:
        raise ImageRejected("multi_frame", "The DICOM file holds several frames: export the one film as its own file.")
    photometric = elements.text(tags[_PHOTOMETRIC]) if _PHOTOMETRIC in tags else ""
    check_size(Header("DICOM", "", columns, rows, 1), limits)
    allocated, stored = number(_ALLOCATED), number(_STORED)
    samples = number(_SAMPLES, 1)
    high = number(_HIGH, stored - 1)
    signed = number(_SIGNED, 0)
    if allocated not in (8, 16) or not 8 <= stored <= allocated or not stored - 1 <= high < allocated or signed > 1:
        raise ImageRejected(
            "dicom_pixels", "The DICOM film must have 8-16 bits stored in 8 or 16 bits a pixel: export it again so."
        )
    if not _is_film(samples, photometric, allocated, stored, syntax):
        raise ImageRejected(
            "dicom_pixels",
            "The DICOM film must be MONOCHROME1, MONOCHROME2 or plain RGB colour: export it in grey, uncompressed.",
        )
    return Layout(
        rows, columns, samples, number(_PLANAR, 0) == 1, photometric, Depth(allocated, stored, high, signed == 1)
    )


def _is_film(samples: int, photometric: str, allocated: int, stored: int, syntax: str) -> bool:
    if samples == 1:
        return photometric in ("MONOCHROME1", "MONOCHROME2")
    if samples != 3 or allocated != 8 or stored != 8:
        return False
    if syntax.startswith(_JPEG):  # RGB in a JPEG is told from YCbCr by marks that files lack
        return photometric in ("YBR_FULL", "YBR_FULL_422")
    if syntax.startswith(_JPEG_2000):
        return photometric in ("RGB", "YBR_ICT", "YBR_RCT")
    return photometric in ("RGB", "YBR_FULL")


def _rules(elements: Elements, tags: Mapping[int, Element], layout: Layout) -> tuple[GreyRules, bool]:
    """What the file says of its values, and whether it has a window that cannot be used."""

    def first(tag: int) -> float | None:
        values = elements.decimals(tags[tag]) if tag in tags else ()
        return values[0] if values else None

    slope, intercept = first(_SLOPE), first(_INTERCEPT)
    if slope == 0:
        raise ImageRejected("corrupt", "The DICOM film's rescale slope is 0: export the film again.")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    depth = layout.depth
    modality = _look_up(elements, tags.get(_MODALITY_LUT), depth.signed)
    lowest = min(0, -(1 << (depth.stored - 1)) * depth.signed * slope + intercept) if modality is None else 0
    voi = _look_up(elements, tags.get(_VOI_LUT), lowest < 0)
    center, width, window = None, None, None
    if _CENTER in tags and _WIDTH in tags:
        center, width = first(_CENTER), first(_WIDTH)
    if center is not None and width is not None:
        window = Window(center, width, (elements.text(tags[_FUNCTION]) if _FUNCTION in tags else "") or "LINEAR")
    usable = window is not None and window.usable
    rules = GreyRules(
        depth,
        slope,
        intercept,
        modality,
        voi,
        window if usable else None,
        layout.photometric == "MONOCHROME1",
        _padding(elements, tags, depth),
    )
    return rules, window is not None and not usable


def _look_up(elements: Elements, sequence: Element | None, signed: bool) -> LookUp | None:
    """The first table of a sequence (PS3.3, C.11.1.1.1, C.11.2.1.1)."""
    item = elements.first_item(sequence) if sequence is not None else None
    if item is None:
        return None
    found = elements.wanted((_LUT_DESCRIPTOR, _LUT_DATA), *item)
    if len(found) < 2:
        raise corrupt()
    count, first, bits = (*elements.integers(found[_LUT_DESCRIPTOR]), 0, 0, 0)[:3]
    count = count or 1 << 16
    data = elements.data[found[_LUT_DATA].start : found[_LUT_DATA].end]
    if bits == 8 and count <= len(data) <= count + 1:
        entries = np.frombuffer(data, np.uint8)[:count]
    elif len(data) >= 2 * count:
        entries = np.frombuffer(data[: 2 * count], "<u2" if elements.little else ">u2")
    else:
        raise corrupt()
    return LookUp(first - (1 << 16) if signed and first >= 1 << 15 else first, entries.astype(np.float64))


def _padding(elements: Elements, tags: Mapping[int, Element], depth: Depth) -> tuple[int, int] | None:
    if _PADDING not in tags:
        return None
    ends = [elements.integers(tags[tag])[0] for tag in (_PADDING, _PADDING_LIMIT) if tag in tags]
    if depth.signed:
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return ends[0], ends[-1]


def _no_pixels() -> ImageRejected:
    return ImageRejected("no_pixels", "The DICOM file holds no film: export the image itself.")
