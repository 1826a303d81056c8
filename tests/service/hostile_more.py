"""Hostile DICOM files and hostile forms; see ``hostile``."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from itertools import chain

from hostile import BOMB, CANARY, Form, cut, damaged, dicom, good_films, jpegs, other_kinds, pngs, polyglots, raw_zeros

_PIXELS = b"\xe0\x7f\x10\x00"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_RLE, _JPEG, _LOSSLESS, _JPEG_2000 = "1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 90))
_ITEM, _ITEM_END, _END = (struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD))


def _replaced(data: bytes, tag: tuple[int, int], kind: bytes, value: bytes) -> bytes:
    """The file with another value of one short element, of whatever length."""
    start = data.index(struct.pack("<HH", *tag) + kind)
    length = struct.unpack("<H", data[start + 6 : start + 8])[0]
    return data[: start + 6] + struct.pack("<H", len(value)) + value + data[start + 8 + length :]


def _inserted(extra: bytes) -> bytes:
    data = dicom()
    place = data.index(b"\x08\x00\x60\x00CS")
    return data[:place] + extra + data[place:]


def _sequence(body: bytes) -> bytes:
    return struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + body + _END + bytes(4)


def dicoms() -> Iterator[tuple[str, bytes]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, which writes these files
        yield from _headers()
        yield from _structures()
        yield from _frames()


def _headers() -> Iterator[tuple[str, bytes]]:
    plain = dicom()
    for name, tag, values in [
        ("rows", (0x28, 0x10), (0, 1, 127, 4097, 65535)),
        ("columns", (0x28, 0x11), (0, 65535)),
        ("bits allocated", (0x28, 0x100), (0, 1, 7, 12, 24, 32, 64, 65535)),
        ("bits stored", (0x28, 0x101), (0, 1, 17, 65535)),
        ("high bit", (0x28, 0x102), (0, 16, 65535)),
        ("sign", (0x28, 0x103), (1, 2, 65535)),
        ("samples", (0x28, 0x02), (0, 2, 3, 65535)),
    ]:
        for value in values:
            yield f"{name} {value}", _replaced(plain, tag, b"US", struct.pack("<H", value))
        yield f"{name} of no bytes", _replaced(plain, tag, b"US", b"")
        yield f"{name} of three bytes", _replaced(plain, tag, b"US", b"\1\2\3")
        yield f"{name} of a thousand bytes", _replaced(plain, tag, b"US", bytes(1000))
    numbers = dicom(RescaleSlope="1", RescaleIntercept="0", WindowCenter="2000", WindowWidth="4000", NumberOfFrames=1)
    for text in (b"0 ", b"nan ", b"inf ", b"-1", b"1e999 ", b"1e308 ", b"", b"\\", b"\xff\xff", b"9" * 900, b"1\\2 "):
        for name, tag in [("slope", 0x1053), ("intercept", 0x1052), ("centre", 0x1050), ("width", 0x1051)]:
            yield f"{name} {text[:9]!r}", _replaced(numbers, (0x28, tag), b"DS", text)
    for text in (b"0 ", b"2 ", b"-1", b"99999999", b"x "):
        yield f"frames {text!r}", _replaced(numbers, (0x28, 8), b"IS", text)
    for value in ("PALETTE COLOR", "RGB", "YBR_FULL", "", "x" * 16):
        yield f"photometric {value}", dicom(photometric=value)
    yield "character set of a patient's name", dicom(SpecificCharacterSet=CANARY)
    for syntax in (b"1.2.840.10008.1.2.4.100\0", b"9.9\0", b"", b"\xff" * 64, _DEFLATED):
        yield f"transfer syntax {syntax[-9:]!r}", _replaced(plain, (2, 0x10), b"UI", syntax)
    for tag in ("BitsStored", "BitsAllocated", "Rows", "Columns", "PhotometricInterpretation", "PixelData"):
        yield f"without {tag}", dicom(without=(tag,))


def _structures() -> Iterator[tuple[str, bytes]]:
    plain = dicom()
    yield "no preamble", plain[132:]
    yield "no meta information", plain[:132] + plain[plain.index(b"\x08\x00\x16\x00") :]
    yield "meta information twice", plain[: plain.index(b"\x08\x00\x16\x00")] + plain[132:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    film = packer.compress(plain[plain.index(b"\x08\x00\x16\x00") :]) + packer.flush(zlib.Z_FULL_FLUSH)
    head = plain[:132] + struct.pack("<HH2sH", 2, 0x10, b"UI", len(_DEFLATED)) + _DEFLATED
    yield "deflated bomb", head + film + raw_zeros(BOMB)
    opening = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + _ITEM + b"\xff" * 4
    closing = _ITEM_END + bytes(4) + _END + bytes(4)
    for depth in (1000, 100_000):
        yield f"nested {depth} deep", _inserted(opening * depth + closing * depth)
        yield f"nested {depth} deep, never closed", _inserted(opening * depth)
    yield "a million empty items", _inserted(_sequence((_ITEM + bytes(4)) * 1_000_000))
    yield "a million empty elements", _inserted(struct.pack("<HH2sH", 8, 0x1150, b"UI", 0) * 1_000_000)
    for length in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 1 << 24):
        yield f"text of {length} bytes", _inserted(struct.pack("<HH2sHI", 8, 0x1150, b"UT", 0, length) + b"abc")
    yield "private text", _inserted(struct.pack("<HH2sH", 9, 0x10, b"LO", 18) + CANARY.encode().ljust(18))
    yield "item that is none", _inserted(_sequence(struct.pack("<HHI", 8, 0x18, 4) + b"abcd"))
    yield "unknown types", _inserted(b"\x08\x00\x50\x11ZZ\x04\x00abcd" + b"\x08\x00\x51\x11\x00\x00\x00\x00abcd")
    place = plain.index(_PIXELS) + 8
    for length in (0, 10, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF):
        yield f"pixels of {length} bytes", plain[:place] + struct.pack("<I", length) + plain[place + 4 :]
    yield "pixels first", plain[: plain.index(b"\x08\x00\x16\x00")] + plain[plain.index(_PIXELS) :]
    table = struct.pack("<HH2sHI", 0x28, 0x3010, b"SQ", 0, 0xFFFFFFFF) + _ITEM + b"\xff" * 4
    for count, first, bits, data in [
        (0, 0, 16, b"ab"),
        (65535, 65535, 255, b""),
        (1, 0, 16, b"ab"),
        (4, 0, 0, b"abcdefgh"),
    ]:
        item = struct.pack("<HH2sHHHH", 0x28, 0x3002, b"US", 6, count, first, bits)
        item += struct.pack("<HH2sHI", 0x28, 0x3006, b"OW", 0, len(data)) + data
        yield f"table of {count} from {first}", plain[: place - 8] + table + item + closing + plain[place - 8 :]
    yield "table without entries", plain[: place - 8] + table + closing + plain[place - 8 :]


def _items(*frames: bytes, end: bool = True) -> bytes:
    body = b"".join(_ITEM + struct.pack("<I", len(frame)) + frame for frame in (b"", *frames))
    return body + (_END + bytes(4)) * end


def _frames() -> Iterator[tuple[str, bytes]]:
    films = good_films()
    jpeg = films["jpeg"] + b"\0" * (len(films["jpeg"]) % 2)
    size = jpeg.index(b"\xff\xc0") + 5
    runs, start = struct.pack("<16I", 2, 64, 66, *[0] * 13), _ITEM + bytes(4) + _ITEM
    streams = {
        _JPEG: {
            "empty": _items(),
            "none": b"",
            "of another size": _items(jpeg),
            "bomb": _items(jpeg[:size] + b"\xff\xff\xff\xff" + jpeg[size + 4 :]),
            "never ends": _items(jpeg, end=False),
            "in a thousand parts": _items(*[jpeg[i : i + 2] for i in range(0, 2000, 2)]),
            "part that lies": start + b"\xf0\xff\xff\xff" + jpeg,
            "is a page": _items(b"<html>"),
            "item without end": start + b"\xff" * 4 + jpeg,
            "is noise": _items(bytes(range(256)) * 9),
            "is a png": _items(films["png16"]),
            "two pictures": _items(jpeg, jpeg),
        },
        _RLE: {
            "short": _items(b"ab"),
            "no segment": _items(bytes(64)),
            "of 15 segments": _items(struct.pack("<16I", *[15] * 16)),
            "backwards": _items(struct.pack("<16I", 2, 66, 64, *[0] * 13) + bytes(90)),
            "beyond": _items(runs + b"\x81\0"),
            "no-ops": _items(runs + b"\x80" * 9_000_000),
            "bomb": _items(runs + b"\x81\0" * 4_000_000),
            "segments beyond": _items(struct.pack("<16I", 2, 64, 1 << 31, *[0] * 13) + bytes(90)),
        },
        _JPEG_2000: {
            "head alone": _items(b"\xff\x4f\xff\x51"),
            "noise": _items(b"\xff\x4f\xff\x51" + bytes(range(256))),
            "tiles of one pixel": _items(_tiny_tiles()),
            "jp2 of noise": _items(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(500)),
        },
        _LOSSLESS: {"jpeg": _items(jpeg), "noise": _items(bytes(50))},
    }
    for syntax, bodies in streams.items():
        bits = 8 if syntax == _JPEG else 16
        for name, body in bodies.items():
            yield f"frame of {syntax[-3:]} {name}", _encapsulated(body, syntax, bits)


def _encapsulated(body: bytes, syntax: str, bits: int) -> bytes:
    data = dicom(pixels=_items(b"ab"), syntax=syntax, bits=bits, shape=(150, 140))
    return data[: data.index(_PIXELS) + 12] + body


def _tiny_tiles() -> bytes:
    size = struct.pack(">HHH8IH", 0xFF51, 41, 0, 140, 150, 0, 0, 1, 1, 0, 0, 1) + b"\x0f\1\1"
    return b"\xff\x4f" + size + struct.pack(">HHBBHBBBBBB", 0xFF52, 12, 0, 0, 65535, 0, 32, 0, 0, 0, 0)


def files() -> list[tuple[str, bytes]]:
    """All hostile contents, each with its name."""
    found = list(chain(pngs(), jpegs(), polyglots(), other_kinds(), dicoms(), cut(), damaged()))
    names = [name for name, _ in found]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return found


def part(content: bytes, name: str = "file", filename: str | None = "film.png", more: bytes = b"") -> bytes:
    shown = b"" if filename is None else b'; filename="' + filename.encode() + b'"'
    head = b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + shown + b"\r\n" + more
    return head + b"\r\n" + content + b"\r\n"


def forms() -> list[tuple[str, Form]]:
    """Requests whose form, not whose film, is hostile."""
    film = good_films()["png"]
    good = part(film) + b"--b--\r\n"
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    found: list[tuple[str, Form]] = []

    def add(name: str, body: bytes, headers: dict[str, str] | None = None, chunked: bool = False) -> None:
        found.append((name, Form(body, multipart if headers is None else headers, chunked)))

    for value in (
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=" + "b" * 5000, 'multipart/form-data; boundary="b', "multipart/form-data;" * 200,
        "multipart/form-data; boundary=b; boundary=c", "multipart/form-data; boundary=\xff", "text/html",
        "multipart/form-data; charset=utf-7; boundary=b", "application/json", "application/x-www-form-urlencoded",
        f"image/{CANARY}", "application/vnd.bentoml+pickle", "image/png, image/jpeg", "multipart/mixed; boundary=b",
    ):  # fmt: skip
        add(f"type {value[:40]}", good, {"Content-Type": value})
    add("no type", good, {})
    add("ten thousand fields", b"".join(part(b"x", f"f{i}", None) for i in range(10_000)) + good)
    add("ten thousand files", b"".join(part(b"x", f"f{i}") for i in range(10_000)) + good)
    add("a field of nine megabytes", part(b"x" * 9_000_000, "comment", None) + good)
    add("a patient of nine megabytes", part(b"x" * 9_000_000, "patient_id", None) + good)
    add("a part head of nine megabytes", part(film, more=b"X-A: " + b"y" * 9_000_000 + b"\r\n"))
    add("ten thousand part heads", part(film, more=b"X-A: y\r\n" * 10_000) + b"--b--\r\n")
    add("a field name of a megabyte", part(film, "f" * 1_000_000) + b"--b--\r\n")
    for name in (
        f"../../{CANARY}.png", f"/etc/{CANARY}", f"C:\\{CANARY}.dcm", f"http://127.0.0.1:1/{CANARY}", "", "a" * 3000,
        f"{CANARY}\\\";x=\"", "%00%2e%2e", "con", f"$(touch {CANARY})", "\u202egnp.exe", "file:///etc/passwd",
    ):  # fmt: skip
        add(f"file name {name[:30]}", part(film, filename=name) + b"--b--\r\n")
    add("file name of another kind", part(film, filename=None, more=b"") + good)
    add("an address instead of a file", part(b"http://169.254.169.254/", filename=None) + b"--b--\r\n")
    add("wrong field", part(film, "image") + b"--b--\r\n")
    add("field of the patient's name", part(film, CANARY) + part(CANARY.encode(), CANARY, None) + b"--b--\r\n")
    add("two files", part(film) + good)
    add("eleven files", part(film) * 10 + good)
    add("no part", b"--b--\r\n")
    add("no disposition", b"--b\r\n\r\n" + film + b"\r\n--b--\r\n")
    add("no colon", b"--b\r\nContent-Disposition\r\n\r\n" + film + b"\r\n--b--\r\n")
    add("bare line ends", good.replace(b"\r\n", b"\n"))
    add("never closed", good[:-8])
    add("more behind the end", good + b"x" * 1_000_000)
    add("much before the start", b"x" * 1_000_000 + b"\r\n" + good)
    add("boundaries by the thousand", b"--b\r\n" * 100_000)
    add("transfer encoding", part(film, more=b"Content-Transfer-Encoding: base64\r\n") + b"--b--\r\n")
    add("a form inside", part(good, more=b"Content-Type: multipart/mixed; boundary=c\r\n") + b"--b--\r\n")
    add("empty body", b"")
    add("film without a length", good, chunked=True)
    add("bare film without a length", film, {"Content-Type": "image/png"}, chunked=True)
    add("eleven megabytes without a length", b"x" * 11_000_000, {"Content-Type": "image/png"}, chunked=True)
    add("eleven megabytes", part(b"x" * 11_000_000))
    add("dicom as jpeg", good_films()["dicom"], {"Content-Type": "image/jpeg"})
    add("png as dicom", film, {"Content-Type": "application/dicom"})
    for value in ("x" * 200, "\xff\xfe", f"{CANARY}\x01", " "):
        add(f"patient {value[:9]!r}", good, {**multipart, "X-Patient-Id": value})
    add("a patient", part(CANARY.encode(), "patient_id", None) + good, {**multipart, "X-Patient-Id": CANARY})
    add("heads by the hundred", good, {**multipart, **{f"X-{CANARY}-{i}": CANARY for i in range(90)}})
    add("a head of 60 kilobytes", good, {**multipart, "X-Long": CANARY * 3500})
    return found
