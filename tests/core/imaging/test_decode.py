"""Decoding accepts what is a film and refuses the rest with a stable reason."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cxr_core.errors import ImageRejected
from cxr_core.imaging.decode import decode, read_header, sniff_format
from cxr_core.settings_sections import QualitySettings

LIMITS = QualitySettings()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_with_header(width: int, height: int) -> bytes:
    """A few bytes of PNG whose header claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def code_of(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decode(data, LIMITS)
    assert "/" not in caught.value.reason
    return caught.value.code


def test_grey_png_comes_back_as_it_was(film, encode):
    pixels = film(1)
    decoded = decode(encode(pixels), LIMITS)
    np.testing.assert_array_equal(decoded.grey, pixels)
    assert (decoded.header.format, decoded.tint, decoded.bit_depth) == ("PNG", 0.0, 8)


def test_colour_becomes_bt601_luma_and_its_tint_is_measured():
    colour = np.zeros((200, 200, 3), np.uint8)
    colour[..., 0] = 200
    decoded = decode(saved(Image.fromarray(colour), "PNG"), LIMITS)
    assert decoded.grey[100, 100] == round(0.299 * 200)
    assert decoded.tint == pytest.approx(200)


def test_grey_stored_as_colour_has_no_tint(film):
    stacked = np.repeat(film(2)[..., None], 3, axis=2)
    decoded = decode(saved(Image.fromarray(stacked), "JPEG", quality=60), LIMITS)
    assert decoded.tint < 1


def test_transparency_is_laid_over_black():
    rgba = np.full((150, 150, 4), 200, np.uint8)
    rgba[:75, :, 3] = 0
    rgba[75:, :, 3] = 255
    grey = decode(saved(Image.fromarray(rgba), "PNG"), LIMITS).grey
    assert grey[10, 10] == 0
    assert grey[140, 10] == 200


def test_a_palette_is_resolved(film):
    pixels = film(3)
    palette = Image.fromarray(pixels).convert("P")
    grey = decode(saved(palette, "PNG"), LIMITS).grey
    assert np.abs(grey.astype(int) - pixels).mean() < 8


@pytest.mark.parametrize(("bits", "used"), [(12, 12), (16, 16), (10, 10)])
def test_deep_grey_is_scaled_by_the_bits_it_uses(bits: int, used: int):
    deep = np.linspace(0, (1 << bits) - 1, 200 * 200).reshape(200, 200).astype(np.uint16)
    decoded = decode(saved(Image.fromarray(deep), "PNG"), LIMITS)
    assert decoded.bit_depth == used
    assert (decoded.grey.min(), decoded.grey.max()) == (0, 255)


def test_exif_rotation_is_applied(film):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = saved(Image.fromarray(film(4, width=300, height=200)), "JPEG", exif=exif)
    decoded = decode(data, LIMITS)
    assert decoded.grey.shape == (300, 200)
    assert decoded.header.orientation == 6


def test_content_counts_and_not_the_name(film, encode):
    assert read_header(encode(film(), "JPEG"), LIMITS).format == "JPEG"


def test_a_header_of_60000_pixels_is_refused_before_decoding():
    assert code_of(png_with_header(60_000, 60_000)) == "too_large"


def test_a_long_thin_header_is_refused():
    assert code_of(png_with_header(20_000, 200)) == "too_large"


def test_every_refusal_has_its_code(film, encode):
    pixels = film(5, 300, 260)
    jpeg, png = encode(pixels, "JPEG"), encode(pixels, "PNG")
    frames = [Image.fromarray(film(seed)) for seed in (1, 2)]
    assert code_of(b"") == "empty"
    assert code_of(b"this is no image at all") == "not_an_image"
    assert code_of(np.random.default_rng(0).bytes(5000)) == "not_an_image"
    assert code_of(jpeg[: len(jpeg) // 2]) == "truncated"
    assert code_of(png[: len(png) // 2]) == "truncated"
    assert code_of(jpeg[:12]) == "corrupt"
    assert code_of(saved(Image.fromarray(pixels), "GIF")) == "unsupported_format"
    assert code_of(saved(Image.fromarray(pixels), "TIFF")) == "unsupported_format"
    assert code_of(saved(Image.fromarray(pixels), "BMP")) == "unsupported_format"
    assert code_of(encode(film(6, 127, 300))) == "too_small"
    assert code_of(saved(frames[0], "PNG", save_all=True, append_images=frames[1:])) == "multi_frame"


@pytest.mark.parametrize("share", [k / 20 for k in range(1, 20)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_anywhere_is_refused(film, encode, kind: str, share: float):
    data = encode(film(7), kind)
    with pytest.raises(ImageRejected):
        decode(data[: int(len(data) * share)], LIMITS)


def test_a_jpeg_of_many_scans_is_refused_and_an_ordinary_progressive_one_is_not(film):
    data = saved(Image.fromarray(film(9)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    np.testing.assert_allclose(decode(data, LIMITS).grey, film(9), atol=20)
    assert code_of(data[:last] + data[last:-2] * 40 + b"\xff\xd9") == "too_many_scans"


@pytest.mark.parametrize("behind", [b"\xff\xd8", b"\xff\xda"])
def test_a_jpeg_of_very_many_segments_is_refused(film, encode, behind: bytes):
    data = encode(film(), "JPEG")
    place = data.index(behind) + (2 if behind == b"\xff\xd8" else 0)
    for count, refused in ((300, False), (2000, True)):
        longer = data[:place] + b"\xff\xe5\x00\x04ab" * count + data[place:]
        if refused:
            assert code_of(longer) == "corrupt"
        else:
            np.testing.assert_array_equal(decode(longer, LIMITS).grey, decode(data, LIMITS).grey)
    assert code_of(data[:place] + b"\xff" * 2000 + data[place:]) == "corrupt"


def with_chunks(data: bytes, kind: bytes, body: bytes, count: int) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + chunk * count + data[33:]


def test_a_png_of_very_many_chunks_or_of_two_profiles_is_refused(film, encode):
    data = encode(film())
    assert decode(with_chunks(data, b"tEXt", b"a\0b", 900), LIMITS).grey.shape == film().shape
    assert code_of(with_chunks(data, b"tEXt", b"a\0b", 1001)) == "corrupt"
    profile = b"a\0\0" + zlib.compress(bytes(1000))
    assert decode(with_chunks(data, b"iCCP", profile, 1), LIMITS).grey.shape == film().shape
    assert code_of(with_chunks(data, b"iCCP", profile, 2)) == "corrupt"


@pytest.mark.parametrize("error", [KeyError, struct.error, ZeroDivisionError, RecursionError, TypeError])
@pytest.mark.parametrize("step", ["load", "getexif"])
def test_whatever_the_library_raises_over_a_file_is_a_refusal(film, encode, monkeypatch, step: str, error: type):
    def fail(*_: object, **__: object) -> None:
        raise error("DOE^JANE")

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile." + step, fail)
    assert code_of(encode(film(), "JPEG")) == ("truncated" if step == "load" else "corrupt")


def test_a_film_that_memory_does_not_suffice_for_is_too_large(film, encode, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", fail)
    assert code_of(encode(film(), "JPEG")) == "too_large"


def test_no_text_of_a_file_reaches_a_message(film, caplog, capfd, recwarn):
    canary = "DOE^JANE^19560412"
    exif, info = Image.Exif(), PngInfo()
    exif[0x010E] = exif[0x9286] = canary
    info.add_text("Patient", canary)
    image = Image.fromarray(film())
    for data in (saved(image, "JPEG", exif=exif, comment=canary), saved(image, "PNG", exif=exif, pnginfo=info)):
        assert canary.encode() in data
        with caplog.at_level("DEBUG"):
            decode(data, LIMITS)
            for size in range(20, len(data), 37):
                try:
                    decode(data[:size], LIMITS)
                except ImageRejected as rejected:
                    caplog.handler.stream.write(str(rejected))
    said = capfd.readouterr()
    assert canary not in caplog.text + said.out + said.err
    assert not [warning for warning in recwarn if canary in str(warning.message)]


def test_the_smallest_accepted_side_is_accepted(film, encode):
    assert decode(encode(film(8, 128, 128)), LIMITS).grey.shape == (128, 128)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"\0" * 128 + b"DICM", "DICOM"),
        (b"hello", "unknown"),
    ],
)
def test_formats_are_told_by_their_first_bytes(start: bytes, kind: str):
    assert sniff_format(start) == kind
