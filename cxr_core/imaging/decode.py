"""Decode JPEG and PNG bytes, and DICOM where asked for, to 8-bit grey; refuse the rest with a stable reason.

The header is read and judged before a pixel is decoded, so that a small file cannot claim a huge memory.
"""

from __future__ import annotations

import logging
import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from cxr_core.errors import ImageRejected
from cxr_core.imaging.decoded import DecodedImage, Grey, Header, check_size, colour_to_grey, look_up, refuse_damage
from cxr_core.imaging.dicom import decode_dicom
from cxr_core.imaging.jpeg_streams import check_jpeg
from cxr_core.imaging.png_streams import check_png
from cxr_core.settings_sections import QualitySettings

__all__ = ["DecodedImage", "Header", "decode", "read_header", "sniff_format"]

_ACCEPTED = ("JPEG", "PNG")  # report 2.5
_STRIP = 256  # rows that transparency is worked out for at once
_EXIF_ORIENTATION = 0x0112  # EXIF 2.32, tag 274
_SIGNATURES = (  # leading bytes of what people send by mistake
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
)

# A warning of a library can quote what a file holds, and a log must not. Once for the process: a filter that is set and
# reset around a call (warnings.catch_warnings) is undone by another thread's.
warnings.filterwarnings("ignore", module=r"PIL\.|cxr_core\.imaging\.|pydicom")
logging.getLogger("PIL").setLevel(logging.ERROR)


def sniff_format(data: bytes) -> str:
    """Name of a file's format by its leading bytes, ``unknown`` where none fits."""
    if data[128:132] == b"DICM":  # DICOM PS3.10, 7.1
        return "DICOM"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), "unknown")


def read_header(data: bytes, limits: QualitySettings) -> Header:
    """Read and judge the header of an image.

    Args:
        data: the file's bytes.
        limits: smallest and largest sizes.

    Raises:
        ImageRejected: ``empty``, ``not_an_image``, ``unsupported_format``, ``corrupt``, ``multi_frame``, ``too_small``
            or ``too_large``.
    """
    with _open(data) as image:
        header = _header(image)
        check_size(header, limits)
        return header


def decode(data: bytes, limits: QualitySettings, dicom: bool = False) -> DecodedImage:
    """Decode an image to upright 8-bit grey.

    Args:
        data: the file's bytes.
        limits: smallest and largest sizes.
        dicom: whether DICOM is decoded too, see :func:`decode_dicom`; the data set is JPEG and PNG.

    Colour becomes ITU-R BT.601 luma; transparency is laid over black; palettes are resolved; 16-bit grey is scaled by
    the smallest of 10, 12, 14, 16 bits that holds its values; EXIF rotation is applied.

    Raises:
        ImageRejected: as :func:`read_header`, and ``truncated`` where pixel data is missing.
    """
    if dicom and sniff_format(data) == "DICOM":
        return decode_dicom(data, limits)
    with _open(data) as image:
        header = _header(image)
        check_size(header, limits)
        with refuse_damage("truncated", "The file ends early or its pixel data is damaged: copy it again."):
            image.load()
        with refuse_damage("corrupt", "The file's colours or its rotation are damaged: copy it again."):
            grey, tint, bits = _to_grey(image)
    return DecodedImage(grey, header, tint, bits)


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageRejected("empty", "The file has no content: copy it again.")
    kind = sniff_format(data)
    if kind not in _ACCEPTED:
        if kind == "unknown":
            raise ImageRejected("not_an_image", "The content is not an image of a known kind: supply JPEG or PNG.")
        raise ImageRejected("unsupported_format", f"The content is {kind}: convert it to JPEG or PNG.")
    (check_jpeg if kind == "JPEG" else check_png)(data)
    try:
        return Image.open(BytesIO(data), formats=_ACCEPTED)
    except Image.DecompressionBombError as error:
        raise ImageRejected(
            "too_large", "The header promises more pixels than any film has: check the file."
        ) from error
    except Exception as error:
        raise ImageRejected("corrupt", f"The {kind} header is damaged: copy the file again.") from error


def _header(image: Image.Image) -> Header:
    with refuse_damage("corrupt", "The file's header is damaged: copy it again."):
        frames = getattr(image, "n_frames", 1)
        # Pillow would decode a whole PNG in search of EXIF behind its pixels: only what stands before them is read.
        hidden = image.format == "PNG" and "exif" not in image.info
        orientation = 1 if hidden else image.getexif().get(_EXIF_ORIENTATION, 1)
    if frames > 1:
        raise ImageRejected("multi_frame", f"The file holds {frames} frames: save the one film as its own file.")
    orientation = orientation if orientation in range(1, 9) else 1
    # A single-frame MPO is a JPEG with a maker note.
    name = "PNG" if image.format == "PNG" else "JPEG"
    return Header(name, image.mode, image.width, image.height, orientation)


def _to_grey(image: Image.Image) -> tuple[Grey, float, int]:
    ImageOps.exif_transpose(image, in_place=True)
    mode, upright = image.mode, image
    if mode.startswith("I"):  # grey of 16 bits; Pillow before 12 gave it 32
        deep = np.clip(np.asarray(upright), 0, 0xFFFF).astype(np.uint16, copy=False)
        bits = next((bits for bits in (10, 12, 14) if deep.max(initial=0) < 1 << bits), 16)
        scaled = np.arange(0x10000) * 255.0 / ((1 << bits) - 1)
        return look_up(np.clip(np.rint(scaled), 0, 255).astype(np.uint8), deep), 0.0, bits
    if mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in upright.info:
        upright = _over_black(upright)
    elif mode not in ("L", "1", "RGB"):  # palette, CMYK, YCbCr ...
        upright = upright.convert("RGB")
    if upright.mode != "RGB":
        return np.asarray(upright.convert("L")), 0.0, 8
    return *colour_to_grey(upright), 8


def _over_black(image: Image.Image) -> Image.Image:
    """RGB of an image with transparency laid over black, in strips: whole, it would hold five copies of a film."""
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        flat.paste(Image.alpha_composite(black, strip).convert("RGB"), (0, top))
    return flat
