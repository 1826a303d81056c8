"""Encapsulated pixel data of DICOM: joining the fragments of the one frame, expanding run lengths."""

from __future__ import annotations

from cxr_core.errors import ImageRejected
from cxr_core.imaging.dicom_elements import ITEM, SEQUENCE_END, Elements

__all__ = ["CUT", "cut", "damaged", "expanded", "one_frame"]

CUT = "The file ends early or its pixel data is damaged: copy it again."


def cut() -> ImageRejected:
    """The refusal of pixels that are not all there."""
    return ImageRejected("truncated", CUT)


def damaged() -> ImageRejected:
    """The refusal of pixels that are not what the header says."""
    return ImageRejected("corrupt", "The pixel data does not fit the DICOM header: export the film again.")


def one_frame(elements: Elements, place: int) -> bytes:
    """The one encapsulated frame: all fragments behind the offset table, joined (PS3.5, A.4)."""
    fragments: list[bytes] = []
    while True:
        if place + 8 > len(elements.data):
            raise cut()
        item = elements.at(place)
        if item.tag == SEQUENCE_END:
            break
        if item.tag != ITEM or item.undefined:
            raise damaged()
        if item.end > len(elements.data):
            raise cut()
        fragments.append(elements.data[item.start : item.end])
        place = item.end
    frame = b"".join(fragments[1:])  # the first is the offset table
    if not frame:
        raise cut()
    return frame


def expanded(segment: bytes, size: int) -> bytes:
    """PackBits, as far as ``size`` bytes and no further.

    Raises:
        ImageRejected: ``truncated``: the segment gives fewer.
    """
    out, place = bytearray(), 0
    while len(out) < size:
        if place + 1 >= len(segment):
            raise cut()
        head = segment[place]
        if head < 128:
            out += segment[place + 1 : place + 2 + head]
            place += 2 + head
        elif head > 128:
            out += segment[place + 1 : place + 2] * (257 - head)
            place += 2
        else:
            place += 1
    return bytes(out[:size])
