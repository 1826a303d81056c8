"""What a PNG is made of, counted before a decoder gets it: each chunk costs it time, each profile is inflated."""

from __future__ import annotations

import struct

from cxr_core.errors import ImageRejected

__all__ = ["check_png"]

_MAX_CHUNKS = 1000  # beside the pixel data; files have some ten
_MAX_PIXEL_CHUNKS = 50_000  # encoders write 8 KB or more in each
_NAMES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def check_png(data: bytes) -> None:
    """Refuse a PNG of very many chunks, or of several colour profiles (PNG 1.2, 4.2.2.4: at most one).

    10 MB hold 9,000 profiles of a kilobyte that Pillow inflates to a megabyte each, which takes a minute (measured).
    A chunk that is broken ends the count: the decoder stops there too.

    Raises:
        ImageRejected: ``corrupt``.
    """
    place, pixels, others, profiles = 8, 0, 0, 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if not _NAMES.issuperset(name):
            return
        if name == b"IDAT":
            pixels += 1
        else:
            others += 1
            profiles += name == b"iCCP"
        if pixels > _MAX_PIXEL_CHUNKS or others > _MAX_CHUNKS or profiles > 1:
            raise ImageRejected("corrupt", "The PNG has more chunks than any film: save it again.")
        place += 12 + length
