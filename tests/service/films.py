"""Image files, good and bad, made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def pixels(width: int = 300, height: int = 260, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(60, 190, (height, width)).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def film(width: int = 300, height: int = 260, seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(width, height, seed)))


def good_files() -> dict[str, bytes]:
    grey = Image.fromarray(pixels())
    return {
        "png": encoded(grey),
        "jpeg": encoded(grey, "JPEG", quality=90),
        "rgb": encoded(grey.convert("RGB"), "JPEG", quality=90),
        "rgba": encoded(grey.convert("RGBA")),
        "palette": encoded(grey.convert("P")),
        "sixteen_bits": encoded(Image.fromarray(pixels().astype(np.uint16) * 257)),
        "smallest": film(128, 128),
    }


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes whose header promises ``side`` x ``side`` pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def bad_files() -> dict[str, tuple[bytes, int, str]]:
    """Name to content, status and code of the answer."""
    grey = Image.fromarray(pixels())
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(2)]
    jpeg = encoded(grey, "JPEG")
    return {
        "empty": (b"", 422, "empty"),
        "garbage": (bytes(range(256)) * 40, 415, "not_an_image"),
        "text": (b"Patient: none", 415, "not_an_image"),
        "url": (b"http://127.0.0.1:1/image.png", 415, "not_an_image"),
        "gif": (encoded(grey, "GIF"), 415, "unsupported_format"),
        "tiff": (encoded(grey, "TIFF"), 415, "unsupported_format"),
        "truncated_jpeg": (jpeg[: len(jpeg) // 2], 422, "truncated"),
        "truncated_png": (encoded(grey)[:5000], 422, "truncated"),
        "signature_only": (b"\x89PNG\r\n\x1a\n", 422, "corrupt"),
        "bomb": (bomb(), 422, "too_large"),
        "wide": (film(4097, 200), 422, "too_large"),
        "small": (film(127, 300), 422, "too_small"),
        "animated": (encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), 422, "multi_frame"),
    }
