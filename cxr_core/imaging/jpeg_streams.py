"""What a JPEG or JPEG 2000 stream promises, read before a decoder is: small files can ask for hours or gigabytes."""

from __future__ import annotations

import struct

from cxr_core.errors import ImageRejected

__all__ = ["MAX_SCANS", "check_jpeg", "jpeg2000_depth"]

MAX_SCANS = 32  # of a progressive JPEG; encoders write 10 or so; 80 take 3.5 s at 4096 x 4096, a file of 68 KB
_FRAMES = frozenset(
    {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
)  # SOFn, JPEG-LS
_MAX_SEGMENTS = 1000  # before the first scan; a profile takes 255 at most, and each costs Pillow two microseconds
_STREAM = b"\xff\x4f\xff\x51"  # SOC, SIZ: ISO 15444-1, A.2
_COD, _COC, _POC, _SOT, _SOD = 0xFF52, 0xFF53, 0xFF5F, 0xFF90, 0xFF93
_MAX_TILES = 1024  # OpenJPEG sets up some kilobytes for each before it decodes
_MAX_MARKERS = 50_000  # of a stream: a few for each tile
_MAX_LAYERS, _MAX_LEVELS = 64, 10  # encoders write 1-20 and 5-6; OpenJPEG keeps a note for each packet that could be
_MIN_BLOCK = 4  # exponent of 2: code blocks of 16 a side; encoders write 32 or 64
_MIN_PRECINCT = 5  # exponent of 2; OpenJPEG sets up every precinct before it decodes


def check_jpeg(data: bytes, size: tuple[int, int] | None = None) -> None:
    """Refuse a JPEG of many scans or segments, or of another size.

    Args:
        data: the stream.
        size: (width, height) that its frame header must say.

    Raises:
        ImageRejected: ``too_many_scans`` or ``corrupt``.
    """
    # Inside compressed data FF is followed by 00 or a restart marker, so that every other hit is a marker.
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise ImageRejected(
            "too_many_scans", f"The JPEG has more than {MAX_SCANS} scans: save it again as an ordinary JPEG."
        )
    if size not in (None, _frame_size(data)):
        raise _corrupt()


def _frame_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the last frame header before the first scan says, ``None`` where there is none."""
    place, size = 2, None
    for _ in range(_MAX_SEGMENTS):
        if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] in (0xD9, 0xDA):
            return size
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _FRAMES and place + 9 <= len(data):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            size = width, height
        place += 1 if marker == 0xFF else 2 + max(2, length)  # FF before a marker is padding
    raise ImageRejected("corrupt", "The JPEG has more segments than any film: save it again.")


def jpeg2000_depth(data: bytes, width: int, height: int, components: int) -> tuple[bytes, int, bool]:
    """Judge the headers of a JPEG 2000 stream (ISO 15444-1, annex A).

    Args:
        data: the stream, or a JP2 file around it.
        width, height, components: what it must have.

    Returns:
        The bare stream, its bits a sample (1-16) and whether they are signed.

    Raises:
        ImageRejected: ``corrupt``, or ``dicom_pixels`` where its structure costs a decoder more than any film does.
    """
    begin = data.find(_STREAM, 0, 4096)
    if begin < 0:
        raise _corrupt()
    stream = data[begin:]
    try:
        right, bottom, left, top, across, down, from_left, from_top, count = struct.unpack(">8IH", stream[8:42])
        depths = {stream[42 + 3 * number] for number in range(components)}
        if (right - left, bottom - top, count) != (width, height, components) or len(depths) != 1 or not across * down:
            raise _corrupt()
        if -(-(right - from_left) // across) * -(-(bottom - from_top) // down) > _MAX_TILES:
            raise _too_fine()
        _check_markers(stream)
    except (struct.error, IndexError) as error:
        raise _corrupt() from error
    depth = depths.pop()
    bits = (depth & 0x7F) + 1
    if bits > 16:
        raise _corrupt()
    return stream, bits, depth > 0x7F


def _check_markers(stream: bytes) -> None:
    """Walk the main header and the headers of the tile parts; compressed data is stepped over."""
    place, part = 2, 0
    for _ in range(_MAX_MARKERS):
        if place + 2 > len(stream):
            return
        marker, length = struct.unpack(">HH", stream[place : place + 4].ljust(4, b"\0"))
        if marker == _SOD:
            if not part:
                raise _corrupt()
            place, part = part, 0
        elif marker == _SOT:
            size = struct.unpack(">I", stream[place + 6 : place + 10])[0]
            part = place + size if size else len(stream)  # 0: as far as the stream goes
            if part < place + 14:
                raise _corrupt()
            place += 2 + length
        elif marker == 0xFFD9 or marker < 0xFF4F:
            return
        else:
            body = stream[place + 4 : place + 2 + length]
            if marker == _POC:
                raise _too_fine()
            if marker == _COD:
                if int.from_bytes(body[2:4], "big") > _MAX_LAYERS:
                    raise _too_fine()
                _check_coding(body[5:], body[0])
            if marker == _COC:
                _check_coding(body[2:], body[1])
            place += 2 + max(2, length)
    raise _too_fine()


def _check_coding(body: bytes, style: int) -> None:
    """Levels, block and precinct sizes of a COD or COC marker (A.6.1, A.6.2)."""
    precincts = body[5 : 6 + body[0]] if style & 1 else b"\xff"
    if (
        body[0] > _MAX_LEVELS
        or min(body[1], body[2]) + 2 < _MIN_BLOCK
        or min((min(size & 15, size >> 4) for size in precincts), default=0) < _MIN_PRECINCT
    ):
        raise _too_fine()


def _too_fine() -> ImageRejected:
    return ImageRejected(
        "dicom_pixels", "The JPEG 2000 stream is divided in a way that no film needs: export the film uncompressed."
    )


def _corrupt() -> ImageRejected:
    return ImageRejected("corrupt", "The compressed pixels do not fit the DICOM header: export the film again.")
