"""DICOM films come out as the standard says, checked against pydicom; the rest is refused with a stable reason."""

from __future__ import annotations

import logging
import struct
import sys
import tracemalloc
import types
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import DEFLATED, JPEG_LOSSLESS, dicom, values, written
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cxr_core.errors import ImageRejected
from cxr_core.imaging import dicom as under_test
from cxr_core.imaging.decode import decode
from cxr_core.imaging.dicom import decode_dicom
from cxr_core.settings_sections import QualitySettings

LIMITS = QualitySettings(max_side=4096)
ANY_SIZE = QualitySettings(min_side=1)
CANARY = "DOE^JANE^19560412"
LOSSLESS = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless]


def code_of(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        decode_dicom(data, LIMITS)
    assert CANARY not in caught.value.reason
    return caught.value.code


@contextmanager
def changed(**more: Any) -> Iterator[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of values that are wrong on purpose
        yield dicom(values(), more=more)


def expected(data: bytes) -> np.ndarray:
    """Grey by pydicom's own functions."""
    dataset = pydicom.dcmread(BytesIO(data))
    stored = apply_modality_lut(dataset.pixel_array, dataset)
    if "VOILUTSequence" in dataset:
        seen = apply_voi(stored.astype(np.int64), dataset).astype(float)
        low, high = 0, (1 << int(seen.max()).bit_length()) - 1
    elif "WindowWidth" in dataset:
        seen = apply_windowing(stored, dataset)
        whole = 1 << dataset.BitsStored
        low, high = (-whole // 2, whole // 2 - 1) if dataset.PixelRepresentation else (0, whole - 1)
        slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        low, high = low * slope + intercept, high * slope + intercept
    else:
        seen = stored.astype(float)
        low, high = seen.min(), seen.max()
    bright = (seen - low) / (high - low)
    return np.rint((1 - bright if dataset.PhotometricInterpretation == "MONOCHROME1" else bright) * 255)


def assert_as_pydicom(data: bytes) -> None:
    # A value halfway between two greys may go either way: the two add in another order.
    assert np.abs(decode_dicom(data, ANY_SIZE).grey - expected(data)).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_encoding_gives_the_same_film(syntax: str, bits: int, signed: bool, photometric: str):
    pixels = values(bits, signed)
    decoded = decode_dicom(dicom(pixels, bits, syntax, photometric), LIMITS)
    low, high = int(pixels.min()), int(pixels.max())
    bright = np.rint((pixels.astype(float) - low) / (high - low) * 255)
    inverted = photometric == "MONOCHROME1"
    # The exact half may be rounded to either side once it is inverted.
    assert np.abs(decoded.grey - (255 - bright if inverted else bright)).max() <= int(inverted)
    assert (decoded.header.format, decoded.header.mode, decoded.bit_depth) == ("DICOM", photometric, bits)
    assert decoded.notes == ()


@pytest.mark.parametrize("odd", [(151, 141), (129, 129)])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_an_odd_number_of_bytes_is_read_to_the_last(syntax: str, odd: tuple[int, int]):
    pixels = values(8, height=odd[0], width=odd[1])
    assert_as_pydicom(dicom(pixels, 8, syntax))


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_words_of_two_pixels_are_read_in_order(vr: str):
    pixels = values(8)
    data = pixels.tobytes() if vr == "OB" else pixels.view(np.uint16).byteswap().tobytes()
    made = pydicom.dcmread(BytesIO(dicom(pixels, 8)))
    made.PixelData = data
    made["PixelData"].VR = vr
    np.testing.assert_array_equal(decode_dicom(written(made, ExplicitVRBigEndian), LIMITS).grey, pixels)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_gives_the_values_back(bits: int):
    pixels = values(bits)
    shown = dicom(pixels, bits, JPEG2000Lossless)
    np.testing.assert_array_equal(decode_dicom(shown, LIMITS).grey, decode_dicom(dicom(pixels, bits), LIMITS).grey)


def test_jpeg_gives_what_the_codec_gives():
    pixels = np.asarray(Image.fromarray(values(8)).resize((140, 150), Image.Resampling.BOX))
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    codec = np.asarray(Image.open(buffer)).astype(float)
    grey = decode_dicom(dicom(pixels, 8, JPEGBaseline8Bit, more={"WindowCenter": 128, "WindowWidth": 256}), LIMITS).grey
    np.testing.assert_allclose(grey, codec, atol=1)


PYDICOMS_OWN = [
    "CT_small", "J2K_pixelrep_mismatch", "JPEG2000", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb",
    "MR_small_implicit", "MR_small_jp2klossless", "MR_small_padded", "examples_overlay",
]  # fmt: skip


@pytest.mark.parametrize("name", PYDICOMS_OWN)
def test_the_files_that_pydicom_is_tested_with_come_out_as_it_reads_them(name: str):
    path = Path(pydicom.__file__).parent / f"data/test_files/{name}.dcm"
    assert_as_pydicom(path.read_bytes())


def test_no_file_that_pydicom_is_tested_with_breaks_the_decoder():
    files = sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm"))
    assert len(files) > 50
    decoded = 0
    for path in files:
        try:
            decoded += decode(path.read_bytes(), ANY_SIZE, dicom=True).grey.size > 0
        except ImageRejected:
            continue
    assert decoded >= 20


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000.5, 333.25), (3000, 1), (-500, 200), (0, 1e6)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_window_is_applied_as_the_standard_says(function: str | None, center: float, width: float, signed: bool):
    more = {"WindowCenter": center, "WindowWidth": width, "RescaleSlope": 1.5, "RescaleIntercept": -100}
    if function:
        more["VOILUTFunction"] = function
    if (function or "LINEAR") == "LINEAR" and width == 1:
        grey = decode_dicom(dicom(values(12, signed), more=more), LIMITS).grey
        assert set(np.unique(grey)) <= {0, 255}  # pydicom divides by zero here
        return
    assert_as_pydicom(dicom(values(12, signed), more=more))


def test_of_several_windows_the_first_is_taken():
    one = dicom(values(), more={"WindowCenter": 1000, "WindowWidth": 500})
    two = dicom(values(), more={"WindowCenter": [1000, 3000], "WindowWidth": [500, 100]})
    np.testing.assert_array_equal(decode_dicom(two, LIMITS).grey, decode_dicom(one, LIMITS).grey)


def test_a_negative_slope_turns_black_and_white():
    plain = decode_dicom(dicom(values()), LIMITS).grey
    turned = decode_dicom(dicom(values(), more={"RescaleSlope": -1, "RescaleIntercept": 4095}), LIMITS).grey
    assert np.abs(turned.astype(int) - (255 - plain)).max() <= 1


@pytest.mark.parametrize("limit", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_does_not_stretch_the_range(signed: bool, limit: bool):
    pixels = values(10, height=150, width=140).astype(np.int16 if signed else np.uint16)
    film = decode_dicom(dicom(pixels, 16), LIMITS).grey
    padding = -2000 if signed else 60000
    padded = pixels.copy()
    padded[100:] = padding
    more = {"PixelPaddingValue": padding}
    if limit:
        padded[120:] = padding - 5
        more = {"PixelPaddingValue": padding - 10, "PixelPaddingRangeLimit": padding}
    vr = "SS" if signed else "US"
    dataset = pydicom.dcmread(BytesIO(dicom(padded, 16)))
    for name, value in more.items():
        dataset.add_new(name, vr, value)
    shown = decode_dicom(written(dataset), LIMITS).grey
    np.testing.assert_array_equal(shown[:100], film[:100])
    assert set(np.unique(shown[100:])) == {0 if signed else 255}


def look_up(first: int, entries: np.ndarray, bits: int, signed: bool = False) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def test_a_modality_table_stands_before_the_window():
    table = look_up(100, np.linspace(4000, 0, 1000).astype(int), 12)
    table.ModalityLUTType = "US"
    more = {"ModalityLUTSequence": [table], "WindowCenter": 2048, "WindowWidth": 4096}
    data = dicom(values(), more=more)
    stored = np.clip(values().astype(int) - 100, 0, 999)
    np.testing.assert_allclose(
        decode_dicom(data, LIMITS).grey, np.linspace(4000, 0, 1000).astype(int)[stored] / 4095 * 255, atol=1
    )


@pytest.mark.parametrize("signed", [False, True])
def test_a_table_of_the_values_of_interest_counts_before_the_window(signed: bool):
    curve = (4095 * np.linspace(0, 1, 4096) ** 2).astype(int)
    table = look_up(-2048 if signed else 0, curve, 12, signed)
    data = dicom(values(12, signed), more={"VOILUTSequence": [table], "WindowCenter": 1, "WindowWidth": 2})
    assert_as_pydicom(data)


def test_bits_above_the_stored_ones_are_no_part_of_the_film():
    pixels = values(12)
    overlaid = pixels | (np.uint16(0xF000) * (np.arange(pixels.size).reshape(pixels.shape) % 3 == 0).astype(np.uint16))
    np.testing.assert_array_equal(decode_dicom(dicom(overlaid), LIMITS).grey, decode_dicom(dicom(pixels), LIMITS).grey)


def test_bits_stored_high_are_found():
    pixels = values(12)
    high = dicom(pixels << 4, more={"HighBit": 15})
    np.testing.assert_array_equal(decode_dicom(high, LIMITS).grey, decode_dicom(dicom(pixels), LIMITS).grey)


@pytest.mark.parametrize(("photometric", "mode"), [("RGB", "RGB"), ("YBR_FULL", "YCbCr")])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_colour_becomes_luma_and_its_tint_is_measured(syntax: str, photometric: str, mode: str):
    colour = np.zeros((150, 140, 3), np.uint8)
    colour[..., 0] = np.arange(140)
    colour[..., 2] = 40
    stored = np.asarray(Image.fromarray(colour).convert(mode))
    decoded = decode_dicom(dicom(stored, 8, syntax, photometric), LIMITS)
    assert np.abs(decoded.grey.astype(int) - np.asarray(Image.fromarray(colour).convert("L"))).max() <= 2
    assert decoded.tint == pytest.approx((colour.max(axis=2) - colour.min(axis=2)).mean(), abs=3)


def test_colour_in_planes_is_put_together():
    colour = np.random.default_rng(0).integers(0, 256, (150, 140, 3)).astype(np.uint8)
    made = pydicom.dcmread(BytesIO(dicom(colour, 8, photometric="RGB")))
    made.PlanarConfiguration, made.PixelData = 1, colour.transpose(2, 0, 1).tobytes()
    expected_grey = decode_dicom(dicom(colour, 8, photometric="RGB"), LIMITS).grey
    np.testing.assert_array_equal(decode_dicom(written(made), LIMITS).grey, expected_grey)


def test_a_file_that_calls_itself_implicit_and_is_not_is_read():
    data = dicom(values(), syntax=ExplicitVRLittleEndian)
    lied = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    np.testing.assert_array_equal(decode_dicom(lied, LIMITS).grey, decode_dicom(data, LIMITS).grey)


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({}, ()),
        ({"Modality": "CR", "BodyPartExamined": "", "ViewPosition": "AP", "BurnedInAnnotation": "NO"}, ()),
        ({"Modality": "CT"}, ("modality",)),
        ({"BodyPartExamined": "HAND"}, ("body_part",)),
        ({"ViewPosition": "LL"}, ("view",)),
        ({"ViewPosition": "LATERAL"}, ("view",)),
        ({"PatientOrientation": ["A", "F"]}, ("view",)),
        ({"BurnedInAnnotation": "YES"}, ("burned_in",)),
        ({"WindowCenter": 100, "WindowWidth": 0}, ("window",)),
        ({"WindowCenter": 100, "WindowWidth": -5, "VOILUTFunction": "SIGMOID"}, ("window",)),
        ({"PatientOrientation": ["R", "F"], "Modality": "MR"}, ("modality", "turned")),
    ],
)
def test_what_speaks_against_a_frontal_film_is_noted_and_no_refusal(more: dict[str, Any], notes: tuple[str, ...]):
    with changed(**more) as data:
        assert decode_dicom(data, LIMITS).notes == notes


ORIENTATIONS = {
    ("L", "F"): lambda film: film,
    ("R", "F"): lambda film: film[:, ::-1],
    ("L", "H"): lambda film: film[::-1],
    ("R", "H"): lambda film: film[::-1, ::-1],
    ("F", "L"): lambda film: film.T,
    ("F", "R"): lambda film: film[:, ::-1].T,
    ("H", "L"): lambda film: film[::-1].T,
    ("H", "R"): lambda film: film[::-1, ::-1].T,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_film_is_turned_upright_where_its_tag_leaves_no_doubt(orientation: tuple[str, str]):
    """The patient's head is marked at the top left of the upright film, which is the patient's right."""
    upright = np.zeros((160, 140), np.uint8)
    upright[:20, :70] = 255
    lying = np.ascontiguousarray(ORIENTATIONS[orientation](upright))
    decoded = decode_dicom(dicom(lying, 8, more={"PatientOrientation": list(orientation)}), LIMITS)
    np.testing.assert_array_equal(decoded.grey, upright)
    assert decoded.notes == (() if orientation == ("L", "F") else ("turned",))


@pytest.mark.parametrize("orientation", [["LA", "F"], ["L"], ["L", "L"], ["X", "Y"], ["RF", "FL"]])
def test_an_orientation_in_doubt_turns_nothing(orientation: list[str]):
    with changed(PatientOrientation=orientation) as data:
        decoded = decode_dicom(data, LIMITS)
    np.testing.assert_array_equal(decoded.grey, decode_dicom(dicom(values()), LIMITS).grey)
    assert "turned" not in decoded.notes


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two frames": ({"NumberOfFrames": 2}, "multi_frame"),
    "no frame": ({"NumberOfFrames": 0}, "multi_frame"),
    "huge rows": ({"Rows": 60_000}, "too_large"),
    "huge columns": ({"Columns": 65_535}, "too_large"),
    "few rows": ({"Rows": 100}, "too_small"),
    "no rows": ({"Rows": 0}, "too_small"),
    "more rows than pixels": ({"Rows": 151}, "truncated"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "dicom_pixels"),
    "colour by name": ({"PhotometricInterpretation": "RGB"}, "dicom_pixels"),
    "three samples of grey": ({"SamplesPerPixel": 3}, "dicom_pixels"),
    "no bit stored": ({"BitsStored": 0}, "dicom_pixels"),
    "seven bits": ({"BitsStored": 7}, "dicom_pixels"),
    "more bits than allocated": ({"BitsStored": 17}, "dicom_pixels"),
    "32 bits": ({"BitsAllocated": 32}, "dicom_pixels"),
    "one bit": ({"BitsAllocated": 1}, "dicom_pixels"),
    "high bit too low": ({"HighBit": 10}, "dicom_pixels"),
    "high bit too high": ({"HighBit": 16}, "dicom_pixels"),
    "slope 0": ({"RescaleSlope": 0}, "corrupt"),
    "endless slope": ({"RescaleSlope": "1e308", "RescaleIntercept": "1e308"}, "corrupt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_no_film_has_is_refused_before_its_pixels_are_read(name: str, monkeypatch: pytest.MonkeyPatch):
    more, code = REFUSED[name]
    if code != "truncated" and name != "endless slope":
        monkeypatch.setattr(under_test, "pixels", lambda *_: pytest.fail("pixels were decoded"))
    with changed(**more) as data:
        assert code_of(data) == code


@pytest.mark.parametrize("text", [b"nan", b"inf", b"1e999", b"1_0", b"0x10", b"one", b"1,5", b"\xff\xfe"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "WindowWidth", "NumberOfFrames"])
def test_what_is_no_number_is_no_number(keyword: str, text: bytes):
    more = {"RescaleSlope": "7654321", "WindowCenter": "5", "WindowWidth": "7654321", "NumberOfFrames": 7654321}
    with changed(**{**({"WindowCenter": "5"} if keyword == "WindowWidth" else {}), keyword: more[keyword]}) as data:
        assert code_of(data.replace(b"7654321 ", text.ljust(8))) == "corrupt"


@pytest.mark.parametrize("tag", ["BitsStored", "BitsAllocated", "PhotometricInterpretation"])
def test_a_header_without_what_pixels_need_is_refused(tag: str):
    assert code_of(dicom(values(), without=(tag,))) in ("corrupt", "dicom_pixels")


def test_what_holds_no_film_says_so():
    assert code_of(dicom(values(), without=("PixelData",))) == "no_pixels"
    assert code_of(dicom(values(), without=("Rows",))) == "no_pixels"
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = "1.2.3", "1.2.3.4", "SR"
    assert code_of(written(report)) == "no_pixels"
    assert code_of(b"\0" * 128 + b"DICM") == "dicom_encoding"


def test_compressions_without_a_decoder_name_the_conversion():
    data = dicom(encapsulate([b"\xff\xd8\xff\xc3" + bytes(60)]), 12, JPEG_LOSSLESS)
    with pytest.raises(ImageRejected, match="Explicit VR Little Endian") as caught:
        decode_dicom(data, LIMITS)
    assert caught.value.code == "dicom_encoding"
    for uid in (b"1.2.840.10008.1.2.4.100", b"1.2.840.10008.1.2.4.201", b"1.2.3.4.5.6.7.8.9.10.11.12"):
        assert code_of(data.replace(JPEG_LOSSLESS.encode(), uid[: len(JPEG_LOSSLESS)])) == "dicom_encoding"


def test_a_decoder_that_is_installed_is_used(monkeypatch: pytest.MonkeyPatch):
    """Stands for a plug-in of pydicom: it gives the pixels that the frame holds behind a JPEG frame header."""
    pixels = values(12)
    module = types.ModuleType("stand_in_decoder")
    head = b"\xff\xd8\xff\xc3\x00\x0b\x0c" + struct.pack(">HH", 150, 140) + b"\x01\x01\x11\x00"
    vars(module).update(
        is_available=lambda uid: True,
        DECODER_DEPENDENCIES={JPEG_LOSSLESS: ()},
        decode=lambda frame, runner: bytearray(frame[len(head) : len(head) + pixels.nbytes]),
    )
    monkeypatch.setitem(sys.modules, "stand_in_decoder", module)
    decoder = get_decoder(JPEG_LOSSLESS)
    decoder.add_plugin("stand_in", ("stand_in_decoder", "decode"))
    try:
        data = dicom(encapsulate([head + pixels.tobytes()]), 12, JPEG_LOSSLESS)
        np.testing.assert_array_equal(decode_dicom(data, LIMITS).grey, decode_dicom(dicom(pixels), LIMITS).grey)
        lie = head.replace(struct.pack(">HH", 150, 140), struct.pack(">HH", 60_000, 60_000))
        assert code_of(dicom(encapsulate([lie + pixels.tobytes()]), 12, JPEG_LOSSLESS)) == "corrupt"
        assert code_of(dicom(encapsulate([head + b"abc"]), 12, JPEG_LOSSLESS)) == "truncated"
    finally:
        decoder.remove_plugin("stand_in")


def deflated(more: int) -> bytes:
    """A good film, deflated, with so many zeros behind it."""
    plain = dicom(values())
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(plain[plain.index(b"\x08\x00\x16\x00") :] + bytes(more)) + packer.flush()
    return plain[:132] + struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + DEFLATED.encode() + body


def test_a_deflated_file_is_refused_and_never_inflated():
    data = deflated(60_000_000)
    assert len(data) < 200_000
    tracemalloc.start()
    assert code_of(data) == "dicom_encoding"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEG2000Lossless, JPEGBaseline8Bit])
def test_a_film_cut_anywhere_is_refused(syntax: str):
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    data = dicom(values(bits), bits, syntax)
    for share in range(1, 20):
        with pytest.raises(ImageRejected):
            decode_dicom(data[: len(data) * share // 20], LIMITS)


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEG2000Lossless, JPEGBaseline8Bit])
def test_damage_is_refused_or_survived_but_never_breaks_anything(syntax: str):
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    good = dicom(values(bits), bits, syntax, more={"WindowCenter": "500", "WindowWidth": "900", "PatientName": CANARY})
    rng = np.random.default_rng(5)
    header = good.index(b"\x7f\xe0\x00\x10" if syntax == ExplicitVRBigEndian else b"\xe0\x7f\x10\x00")
    survived, reasons = 0, []
    for _ in range(120):
        data = bytearray(good)
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(128, header + 40 if rng.random() < 0.7 else len(data)))] = int(rng.integers(0, 256))
        try:
            survived += decode_dicom(bytes(data), LIMITS).grey.size > 0
        except ImageRejected as error:
            reasons.append(error.reason)
    assert survived + len(reasons) == 120
    assert survived > 0
    assert len(set(reasons)) > 2
    assert CANARY not in str(reasons)


def nested(depth: int) -> bytes:
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth


def with_extra(extra: bytes) -> bytes:
    data = dicom(values())
    place = data.index(b"\x08\x00\x60\x00CS")  # Modality
    return data[:place] + extra + data[place:]


def test_sequences_nested_a_thousand_deep_are_stepped_over():
    plain = decode_dicom(dicom(values()), LIMITS).grey
    np.testing.assert_array_equal(decode_dicom(with_extra(nested(1000)), LIMITS).grey, plain)
    assert code_of(with_extra(nested(1000)[:-16])) in ("corrupt", "no_pixels", "truncated")


def test_a_million_empty_items_take_neither_memory_nor_the_film():
    items = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    items += struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = with_extra(items)
    tracemalloc.start()
    assert code_of(data) == "corrupt"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def rle(count: int, offsets: list[int], body: bytes) -> bytes:
    return struct.pack("<16I", count, *(offsets + [0] * 15)[:15]) + body


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "truncated"),
        (b"\0" * 60, "truncated"),
        (rle(3, [64, 70, 80], bytes(100)), "corrupt"),
        (rle(2, [64, 60], bytes(100)), "corrupt"),
        (rle(2, [0, 64], bytes(100)), "corrupt"),
        (rle(2, [64, 1 << 31], bytes(100)), "corrupt"),
        (rle(2, [64, 66], b"\x80" * 100), "truncated"),
        (rle(2, [64, 66], b"\x81\x00" * 20), "truncated"),
    ],
)
def test_run_lengths_that_lie_are_refused(frame: bytes, code: str):
    assert code_of(dicom(encapsulate([frame]) if frame else encapsulate([b"\0\0"]), 12, RLELossless)) == code


def test_run_lengths_are_expanded_no_further_than_the_film_is_large():
    packed = b"\x81\xff" * 2_500_000  # 320 MB once expanded
    data = dicom(encapsulate([rle(1, [64], packed)]), 8, RLELossless)
    tracemalloc.start()
    decode_dicom(data, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000


def stream_2000(**changes: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values(8)).save(buffer, "JPEG2000", no_jp2=True)
    stream = bytearray(buffer.getvalue())
    for place, value in changes.items():
        offset, kind = {
            "width": (8, ">I"),
            "tile": (24, ">I"),
            "tiles": (28, ">I"),
            "count": (40, ">H"),
            "depth": (42, ">B"),
        }[place]
        struct.pack_into(kind, stream, offset, value)
    return bytes(stream)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"width": 60_000}, "corrupt"),
        ({"tile": 1, "tiles": 1}, "dicom_pixels"),
        ({"tile": 0}, "corrupt"),
        ({"count": 16_000}, "corrupt"),
        ({"depth": 37}, "corrupt"),
    ],
)
def test_a_jpeg_2000_stream_that_asks_for_too_much_is_refused_before_it_is_decoded(changes: dict[str, int], code: str):
    assert code_of(dicom(encapsulate([stream_2000(**changes)]), 8, JPEG2000Lossless)) == code


def test_a_frame_of_another_size_than_the_header_says_is_refused():
    buffer = BytesIO()
    Image.fromarray(values(8, height=300, width=300)).save(buffer, "JPEG")
    assert code_of(dicom(encapsulate([buffer.getvalue()]), 8, JPEGBaseline8Bit)) == "corrupt"


def test_pixels_with_a_length_that_does_not_fit_their_encoding_are_refused():
    data = dicom(values())
    place = data.index(b"\xe0\x7f\x10\x00OW") + 8
    for length in (0, 10, 0xFFFFFFFF, 0xFFFFFFFE):
        lied = data[:place] + struct.pack("<I", length) + data[place + 4 :]
        assert code_of(lied) in ("truncated", "corrupt")


def test_the_name_of_a_patient_reaches_no_message(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    more = {
        "PatientName": CANARY, "PatientID": CANARY, "PatientComments": CANARY, "ImageComments": CANARY,
        "SpecificCharacterSet": CANARY, "PatientBirthDate": CANARY,
    }  # fmt: skip
    with changed(**more) as data:
        pass
    private = struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 18) + CANARY.encode().ljust(18)
    place = data.index(b"\x18\x00\x15\x00CS")
    data = data[:place] + private + data[place:]
    assert data.count(CANARY.encode()) == 7
    recwarn.clear()
    logging.getLogger("pydicom").setLevel(logging.WARNING)
    with caplog.at_level(logging.DEBUG):
        decoded = decode_dicom(data, LIMITS)
        for size in range(140, len(data), 97):
            with pytest.raises(ImageRejected) as caught:
                decode_dicom(data[:size], LIMITS)
            assert CANARY not in str(caught.value)
    said = capfd.readouterr()
    assert CANARY not in repr(decoded.notes) + repr(decoded.header) + caplog.text + said.out + said.err
    assert not [warning for warning in recwarn if CANARY in str(warning.message)]


def test_the_data_set_takes_no_dicom():
    with pytest.raises(ImageRejected) as caught:
        decode(dicom(values()), LIMITS)
    assert caught.value.code == "unsupported_format"
    assert decode(dicom(values()), LIMITS, dicom=True).header.format == "DICOM"
