"""Hostile uploads from one seed: files that lie, bombs, damage, forms that break the rules. All made in memory.

``files`` are contents to be sent as a film, ``forms`` are whole requests. Every text that a format can carry holds the
canary, the name of a patient who does not exist, so that a test can look for it where it must not be.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from loading import load
from PIL import Image, PngImagePlugin

CANARY = "DOE^JANE^19560412"
BOMB = 2000  # megabytes that each bomb inflates to, from 2
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = CANARY.encode()
_PIXEL_DATA = b"\xe0\x7f\x10\x00"


_dicoms = load("core/imaging/dicom_files.py")


@dataclass(frozen=True)
class Form:
    """A request: its body and what its head says of it; ``chunked``: without a length."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False


def grey(height: int = 260, width: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (height, width)).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def dicom(**more: object) -> bytes:
    texts = {"PatientName": CANARY, "PatientID": CANARY, "PatientComments": CANARY, "ImageComments": CANARY}
    options = {name: more.pop(name) for name in ("bits", "syntax", "photometric", "without", "shape") if name in more}
    pixels = more.pop("pixels", None)
    if pixels is None:
        pixels = _dicoms.values(int(options.get("bits", 12)))  # type: ignore[call-overload]
    return bytes(_dicoms.dicom(pixels, more={**texts, **more}, **options))


@functools.cache
def good_films() -> dict[str, bytes]:
    """One of each kind that is taken in, the canary in its texts."""
    image = Image.fromarray(grey())
    exif, info = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E] = exif[0x9286] = CANARY
    info.add_text("Patient", CANARY)
    info.add_itxt("Comment", CANARY, zip=True)
    return {
        "png": encoded(image, pnginfo=info, exif=exif),
        "png16": encoded(Image.fromarray(grey().astype(np.uint16) * 256)),
        "rgba": encoded(image.convert("RGBA"), pnginfo=info),
        "jpeg": encoded(image, "JPEG", exif=exif, comment=CANARY),
        "progressive": encoded(image.convert("RGB"), "JPEG", progressive=True, exif=exif),
        "dicom": dicom(),
        "implicit": dicom(syntax=_dicoms.UID("1.2.840.10008.1.2")),
        "big_endian": dicom(syntax=_dicoms.ExplicitVRBigEndian),
        "rle": dicom(syntax=_dicoms.RLELossless),
        "jpeg2000": dicom(syntax=_dicoms.JPEG2000Lossless),
        "dicom_jpeg": dicom(bits=8, syntax=_dicoms.JPEGBaseline8Bit),
    }


def cut(share: int = 5) -> Iterator[tuple[str, bytes]]:
    """Every good film cut at every ``share`` percent."""
    for name, data in good_films().items():
        for percent in range(share, 100, share):
            yield f"{name} cut at {percent}%", data[: len(data) * percent // 100]


def damaged(seed: int = 11, times: int = 10) -> Iterator[tuple[str, bytes]]:
    """Every good film with a few bytes changed, most of them in its header."""
    rng = np.random.default_rng(seed)
    for name, data in good_films().items():
        for number in range(times):
            broken = bytearray(data)
            for _ in range(int(rng.integers(1, 8))):
                place = rng.integers(0, len(data) if rng.random() < 0.4 else min(len(data), 900))
                broken[int(place)] = int(rng.integers(0, 256))
            yield f"{name} damaged {number}", bytes(broken)


def chunk(kind: bytes, body: bytes, length: int | None = None, crc: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack(">I", size) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)


def ihdr(width: int = 300, height: int = 260, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png(*chunks: bytes, head: bytes | None = None, rows: bytes | None = None) -> bytes:
    """A PNG of 300 x 260 with further chunks before its pixels."""
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey()) if rows is None else rows)
    return b"".join([SIGNATURE, ihdr() if head is None else head, *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


@functools.cache
def raw_zeros(megabytes: int) -> bytes:
    """So many megabytes of zeros as a raw deflate stream: one megabyte is packed, and its block repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes + b"\3\0"


def _zeros(megabytes: int) -> bytes:
    """The same as a zlib stream, with the checksum of zeros."""
    return b"\x78\xda" + raw_zeros(megabytes) + struct.pack(">I", (megabytes << 20) % 65521 << 16 | 1)


def pngs() -> Iterator[tuple[str, bytes]]:
    for width, height in [
        (60_000, 60_000),
        (1 << 31, 1 << 31),
        (0, 0),
        (1, 1),
        (100_000, 200),
        (4097, 300),
        (127, 300),
    ]:
        yield f"png header {width} x {height}", png(head=ihdr(width, height))
    yield "png of 4096 x 4096 black pixels", encoded(Image.new("L", (4096, 4096)))
    yield "png of 4096 x 4096 transparent pixels", encoded(Image.new("LA", (4096, 4096), (9, 9)))
    yield "png of 4096 x 4096 deep pixels", encoded(Image.fromarray(np.zeros((4096, 4096), np.uint16)))
    yield "png of 4096 x 4096 without pixels", png(head=ihdr(4096, 4096), rows=b"")
    yield "idat bomb", SIGNATURE + ihdr() + chunk(b"IDAT", _zeros(BOMB)) + chunk(b"IEND", b"")
    for kind, start in [(b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")]:
        yield f"{kind!r} bomb", png(chunk(kind, start + _zeros(BOMB)))
        yield f"{kind!r} bombs by the hundred", png(*[chunk(kind, start + _zeros(1))] * 300)
        yield f"{kind!r} bombs by the thousand", png(*[chunk(kind, start + _zeros(1))] * 8000)
        yield f"{kind!r} garbage", png(chunk(kind, start + b"\xff" * 500))
        yield f"{kind!r} empty", png(chunk(kind, b""))
    yield "text of nine megabytes", png(chunk(b"tEXt", b"Patient\0" + _TEXT * 520_000))
    yield "ten thousand texts", png(*[chunk(b"tEXt", b"Patient\0" + _TEXT + b"%d" % i) for i in range(10_000)])
    yield "wrong checksum", png(head=ihdr()[:-4] + b"abcd")
    for length in (0xFFFFFFFF, 0x7FFFFFFF, 1 << 24):
        yield f"chunk length {length}", png(chunk(b"tEXt", b"a\0b", length))
        yield f"head length {length}", png(head=chunk(b"IHDR", b"\0" * 13, length))
    yield "no head", SIGNATURE + chunk(b"IDAT", _zeros(1)) + chunk(b"IEND", b"")
    yield "two heads", png(ihdr(4096, 4096))
    yield "another head behind the pixels", png()[:-12] + ihdr(60_000, 60_000) + chunk(b"IEND", b"")
    yield "no end", png()[:-12]
    for depth, colour in [(3, 0), (16, 3), (8, 5), (8, 255), (32, 0), (0, 0)]:
        yield f"depth {depth} colour {colour}", png(head=ihdr(depth=depth, colour=colour))
    yield "palette missing", png(head=ihdr(colour=3))
    for entries in (0, 1, 257):
        yield f"palette of {entries}", png(chunk(b"PLTE", b"\1\2\3" * entries), head=ihdr(colour=3))
    yield "interlace 2", png(head=ihdr(interlace=2))
    yield "interlaced rows missing", png(head=ihdr(interlace=1))
    yield "transparency of the wrong length", png(chunk(b"tRNS", b"\0" * 999))
    yield "exif garbage", png(chunk(b"eXIf", b"Exif\0\0MM\0*" + _TEXT * 40))
    yield "exif of endless tags", png(chunk(b"eXIf", _tiff_loop()))
    frames = struct.pack(">II", 0x7FFFFFFF, 0)
    yield "animation of two billion pictures", png(chunk(b"acTL", frames))
    yield "animation of no picture", png(chunk(b"acTL", bytes(8)))
    pictures = [Image.fromarray(grey(seed=seed)) for seed in range(3)]
    yield "animated", encoded(pictures[0], save_all=True, append_images=pictures[1:])


def _tiff_loop() -> bytes:
    """EXIF whose directory points at itself and whose tags claim four thousand million values."""
    tags = struct.pack(">HHII", 0x0112, 3, 0xFFFFFFFF, 8) + struct.pack(">HHII", 0x8769, 4, 1, 8)
    return b"MM\0*" + struct.pack(">IH", 8, 2) + tags + struct.pack(">I", 8)


def _exif(orientation: bytes) -> bytes:
    return b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">H", 0x0112) + orientation + struct.pack(">I", 0)


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def jpegs() -> Iterator[tuple[str, bytes]]:
    plain = encoded(Image.fromarray(grey()), "JPEG")
    frame = plain.index(b"\xff\xc0")
    scan = plain.index(b"\xff\xda")

    def sized(height: int, width: int) -> bytes:
        return plain[: frame + 5] + struct.pack(">HH", height, width) + plain[frame + 9 :]

    def with_segments(*segments: bytes) -> bytes:
        return plain[:2] + b"".join(segments) + plain[2:]

    for height, width in [(65_535, 65_535), (0, 300), (300, 0), (4097, 300), (60_000, 130), (100, 300), (4096, 4096)]:
        yield f"jpeg header {width} x {height}", sized(height, width)
    yield "jpeg of 4096 x 4096 pixels", encoded(Image.new("CMYK", (4096, 4096)), "JPEG")
    for precision in (0, 1, 12, 16, 255):
        yield f"jpeg of {precision} bits", plain[: frame + 4] + bytes([precision]) + plain[frame + 5 :]
    for count in (0, 2, 4, 255):
        yield f"jpeg of {count} components", plain[: frame + 9] + bytes([count]) + plain[frame + 10 :]
    for marker in (0xC3, 0xC9, 0xCA, 0xF7, 0xC5):
        yield f"jpeg frame {marker:x}", plain[: frame + 1] + bytes([marker]) + plain[frame + 2 :]
    yield "jpeg without frame", plain[:frame] + plain[scan:]
    yield "jpeg without tables", plain[:2] + plain[frame:]
    yield "jpeg of two frames", plain[:frame] + plain[frame:scan] * 2 + plain[scan:]
    yield "jpeg that ends at once", plain[:scan] + b"\xff\xd9"
    yield "jpeg of markers alone", b"\xff\xd8" + b"\xff" * 1_000_000
    yield "jpeg of a million empty segments", with_segments(*[segment(0xE5, b"")] * 1_000_000)
    yield (
        "jpeg of a million empty segments behind its frame",
        plain[:scan] + segment(0xE5, b"") * 1_000_000 + plain[scan:],
    )
    yield "jpeg segment of length 0", with_segments(segment(0xE1, b"Exif\0\0", 0))
    progressive = encoded(Image.new("L", (2048, 2048), 99), "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    for scans in (20, 10_000):
        body = progressive[:last] + progressive[last:-2] * scans + b"\xff\xd9"
        yield f"progressive jpeg of {scans} more scans", body
    yield "jpeg of two million fill bytes", with_segments(b"\xff" * 2_000_000)
    yield "comments by the megabyte", with_segments(*[segment(0xFE, _TEXT * 3800)] * 140)
    for name, orientation in {
        "65535": struct.pack(">HIHH", 3, 1, 65535, 0),
        "0": struct.pack(">HIHH", 3, 1, 0, 0),
        "text": struct.pack(">HI4s", 2, 4, b"abc\0"),
        "fraction": struct.pack(">HII", 5, 1, 0),
        "of a thousand million": struct.pack(">HII", 3, 1_000_000_000, 0),
        "of type 999": struct.pack(">HII", 999, 1, 0),
    }.items():
        yield f"orientation {name}", with_segments(segment(0xE1, b"Exif\0\0" + _exif(orientation)))
    yield "exif that points at itself", with_segments(segment(0xE1, b"Exif\0\0" + _tiff_loop()))
    yield "exif garbage in jpeg", with_segments(segment(0xE1, b"Exif\0\0" + _TEXT * 100))
    yield "profile in parts that lie", with_segments(*[segment(0xE2, b"ICC_PROFILE\0\xff\1" + bytes(60_000))] * 100)
    yield "photoshop block that lies", with_segments(segment(0xED, b"Photoshop 3.0\08BIM\xff\xff\xff\xff" + _TEXT))
    yield "mpo that lies", with_segments(segment(0xE2, b"MPF\0" + _tiff_loop()))
    pictures = [Image.fromarray(grey(seed=seed)) for seed in range(2)]
    yield "mpo of two", encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    yield "two jpegs", plain + plain


def polyglots() -> Iterator[tuple[str, bytes]]:
    """Files that are two things at once."""
    jpeg, image = encoded(Image.fromarray(grey()), "JPEG"), png()
    page = b"<html><script>alert('" + _TEXT + b"')</script></html>"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(f"../../{CANARY}.txt", CANARY)
    yield "jpeg and zip", jpeg + archive.getvalue()
    yield "zip and jpeg", archive.getvalue() + jpeg
    yield "png and page", image + page
    yield "png with a page in its text", png(chunk(b"tEXt", b"a\0" + page))
    yield "page and png", page + image
    yield "gif and jpeg", b"GIF89a" + jpeg
    yield "jpeg and gif", jpeg + encoded(Image.fromarray(grey()), "GIF")
    yield "pdf and jpeg", b"%PDF-1.7\n" + jpeg
    yield "jpeg and png", jpeg + image
    yield "jpeg that is half a dicom", jpeg[:2] + segment(0xFE, b"x" * 122 + b"DICM") + jpeg[2:]
    yield "png that is half a dicom", png(chunk(b"tEXt", b"a\0".ljust(87, b"x") + b"DICM" + b"x" * 90))
    yield "tiff and dicom", b"II*\0" + bytes(124) + dicom()[128:]
    yield "program and dicom", b"MZ".ljust(128, b"\x90") + dicom()[128:]
    yield "page and dicom", page.ljust(128)[:128] + dicom()[128:]


def other_kinds() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(grey())
    for kind in ("GIF", "TIFF", "BMP", "WEBP", "ICO", "PPM", "JPEG2000", "PDF", "TGA", "PCX"):
        yield f"a {kind}", encoded(image, kind)
    yield "nothing", b""
    yield "a zero", b"\0"
    yield "zeros by the megabyte", bytes(9_000_000)
    yield "text", _TEXT
    yield "a page", b"<!doctype html><img src='http://127.0.0.1/" + _TEXT + b"'>"
    yield "a drawing", b"<svg xmlns='http://www.w3.org/2000/svg' width='99999' height='99999'/>"
    yield "entities that explode", b"<!DOCTYPE a [<!ENTITY b 'c'>" + b"<!ENTITY d '&b;&b;'>" * 9999 + b"]><a>&d;</a>"
    yield "an address", b"http://169.254.169.254/latest/meta-data/"
    yield "a path", b"/etc/passwd"
    yield "a pickle", b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R."
    yield "an array", b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    yield "a program", b"\x7fELF" + bytes(200)
    yield "gzip of zeros", b"\x1f\x8b\x08\0\0\0\0\0\0\3" + raw_zeros(BOMB)
    for signature in (SIGNATURE, b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", bytes(128) + b"DICM"):
        yield f"the signature {signature[-4:]!r} alone", signature
        yield f"the signature {signature[-4:]!r} and noise", signature + np.random.default_rng(1).bytes(5000)
