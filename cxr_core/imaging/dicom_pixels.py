"""Pixels of a DICOM film by transfer syntax: sizes are checked against the header before anything is decoded.

Encapsulated frames go to Pillow only once their own header says the size that the DICOM header says. RLE is expanded no
further than the film is large. What Pillow cannot read goes to a decoder of pydicom where one is installed.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxr_core.errors import ImageRejected
from cxr_core.imaging.decoded import refuse_damage
from cxr_core.imaging.dicom_elements import Elements
from cxr_core.imaging.dicom_frames import CUT, cut, damaged, expanded, one_frame
from cxr_core.imaging.dicom_grey import Depth
from cxr_core.imaging.jpeg_streams import check_jpeg, jpeg2000_depth

__all__ = ["NATIVE", "Layout", "pixels"]

Raw = npt.NDArray[np.uint16]

NATIVE = {  # transfer syntax to (explicit, little endian): PS3.5, annex A
    "1.2.840.10008.1.2": (False, True),
    "1.2.840.10008.1.2.1": (True, True),
    "1.2.840.10008.1.2.2": (True, False),
}
_RLE = "1.2.840.10008.1.2.5"
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_PLUG_IN = (  # JPEG 12-bit and lossless, JPEG-LS: decoders that pydicom finds where they are installed
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
)


@dataclass(frozen=True)
class Layout:
    """How the pixels lie.

    Attributes:
        rows, columns: of the film.
        samples: 1 for grey, 3 for colour.
        planar: whether colours lie one plane after the other.
        photometric: photometric interpretation.
        depth: how a value is stored.
    """

    rows: int
    columns: int
    samples: int
    planar: bool
    photometric: str
    depth: Depth

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def size(self) -> int:
        """Bytes of the pixels without compression."""
        return self.rows * self.columns * self.samples * self.depth.allocated // 8


def pixels(elements: Elements, place: int, end: int, undefined: bool, syntax: str, layout: Layout) -> tuple[Raw, Depth]:
    """Values of the pixels.

    Args:
        elements: the file.
        place, end: range of the pixel data's value; ``end`` counts only where its length is defined.
        undefined: whether that length is undefined, as it is for encapsulated pixels.
        syntax: transfer syntax.
        layout: how the pixels lie.

    Returns:
        (rows, columns) or (rows, columns, 3) uint16, and how they are stored now.

    Raises:
        ImageRejected: ``truncated``, ``corrupt``, ``dicom_encoding`` or ``dicom_pixels``.
    """
    if syntax in NATIVE:
        if undefined:
            raise damaged()
        if not place + layout.size <= end <= len(elements.data):
            raise cut()
        data = elements.data[place : place + layout.size + layout.size % 2]
        if layout.depth.allocated == 8 and not elements.little and elements.data[place - 8 : place - 6] == b"OW":
            data = np.frombuffer(data.ljust(layout.size + layout.size % 2, b"\0"), "<u2").byteswap().tobytes()
        raw = _arranged(data[: layout.size], layout, elements.little)
        return _as_rgb(raw, layout), layout.depth
    if not undefined:
        raise damaged()
    decoder = _decoder(syntax, layout)
    return decoder(one_frame(elements, place), layout)


def _decoder(syntax: str, layout: Layout) -> Callable[[bytes, Layout], tuple[Raw, Depth]]:
    if syntax == _RLE:
        return _rle
    if syntax in _JPEG and layout.depth.allocated == 8:
        return _jpeg
    if syntax in _JPEG_2000:
        return _jpeg_2000
    if syntax in _PLUG_IN:
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its messages quote values
        from pydicom.pixels import get_decoder
        from pydicom.uid import UID

        found = get_decoder(UID(syntax))
        names = [name for name in found.available_plugins if name != "pillow"]  # which has 8 bits only
        if names:
            return lambda frame, layout: _by_plug_in(found, names[0], frame, layout)
    raise ImageRejected(
        "dicom_encoding",
        "The pixels are compressed in a way that cannot be read here: convert the film to the transfer syntax Explicit "
        "VR Little Endian, for example with `gdcmconv --raw` or `dcmdjpeg`.",
    )


def _arranged(data: bytes | bytearray, layout: Layout, little: bool = True) -> Raw:
    kind = np.dtype(np.uint8) if layout.depth.allocated == 8 else np.dtype("<u2" if little else ">u2")
    flat = np.frombuffer(data, kind).astype(np.uint16)
    if layout.samples == 1:
        return flat.reshape(layout.shape)
    if layout.planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.shape)


def _rle(frame: bytes, layout: Layout) -> tuple[Raw, Depth]:
    """Run lengths, one segment for each byte of each sample, the highest first (PS3.5, annex G)."""
    if len(frame) < 64:
        raise cut()
    count, *offsets = struct.unpack("<16I", frame[:64])
    width = layout.depth.allocated // 8
    if count != layout.samples * width:
        raise damaged()
    bounds = [*offsets[:count], len(frame)]
    if bounds[0] < 64 or sorted(bounds) != bounds:
        raise damaged()
    values = np.zeros((layout.samples, layout.rows * layout.columns), np.uint16)
    for number in range(count):
        segment = expanded(frame[bounds[number] : bounds[number + 1]], layout.rows * layout.columns)
        sample, byte = divmod(number, width)
        values[sample] |= np.frombuffer(segment, np.uint8).astype(np.uint16) << (8 * (width - 1 - byte))
    if layout.samples == 1:
        return values[0].reshape(layout.shape), layout.depth
    return _as_rgb(values.T.reshape(layout.shape), layout), layout.depth


def _as_rgb(raw: Raw, layout: Layout) -> Raw:
    """Uncompressed YCbCr as RGB (PS3.3, C.7.6.3.1.2: the matrix of JFIF, which is Pillow's)."""
    if layout.photometric != "YBR_FULL":
        return raw
    image = Image.frombytes("YCbCr", (layout.columns, layout.rows), raw.astype(np.uint8).tobytes())
    return np.asarray(image.convert("RGB")).astype(np.uint16)


def _jpeg(frame: bytes, layout: Layout) -> tuple[Raw, Depth]:
    """8-bit JPEG. Pillow turns YCbCr into RGB, as the layouts that get here mean it."""
    check_jpeg(frame)
    return _by_pillow(frame, "JPEG", layout), Depth(8, 8, 7, layout.depth.signed)


def _jpeg_2000(frame: bytes, layout: Layout) -> tuple[Raw, Depth]:
    stream, bits, signed = jpeg2000_depth(frame, layout.columns, layout.rows, layout.samples)
    if layout.samples == 3 and bits > 8:
        raise ImageRejected("dicom_pixels", "Colour of more than 8 bits is no chest film: export it in grey.")
    raw = _by_pillow(stream, "JPEG2000", layout)
    allocated = 8 if bits <= 8 else 16
    raw >>= allocated - bits  # Pillow spreads the values over 8 or 16 bits, and moves signed ones up by half of that
    if signed and layout.depth.signed:
        raw ^= 1 << (bits - 1)
    return raw, Depth(allocated, bits, bits - 1, layout.depth.signed)


def _by_pillow(frame: bytes, kind: str, layout: Layout) -> Raw:
    with refuse_damage("truncated", CUT), Image.open(BytesIO(frame), formats=[kind]) as image:
        right_mode = image.mode in (("L", "I;16") if layout.samples == 1 else ("RGB",))
        if image.size != (layout.columns, layout.rows) or not right_mode:
            raise damaged()
        image.load()
        return np.array(image).astype(np.uint16).reshape(layout.shape)


def _by_plug_in(decoder: Any, name: str, frame: bytes, layout: Layout) -> tuple[Raw, Depth]:
    check_jpeg(frame, (layout.columns, layout.rows))
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    items += struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(frame) % 2) + frame + b"\0" * (len(frame) % 2)
    items += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    with refuse_damage("truncated", CUT):
        array, _ = decoder.as_array(
            items,
            index=0,
            rows=layout.rows,
            columns=layout.columns,
            samples_per_pixel=layout.samples,
            planar_configuration=int(layout.planar),
            photometric_interpretation=layout.photometric,
            bits_allocated=layout.depth.allocated,
            bits_stored=layout.depth.stored,
            pixel_representation=int(layout.depth.signed),
            number_of_frames=1,
            pixel_keyword="PixelData",
            decoding_plugin=name,
        )
    if array.shape != layout.shape:
        raise damaged()
    depth = layout.depth
    raw = np.asarray(array).astype(np.int64) & ((1 << depth.allocated) - 1)
    return raw.astype(np.uint16), Depth(depth.allocated, depth.stored, depth.stored - 1, depth.signed)
