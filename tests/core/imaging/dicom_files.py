"""DICOM files made in memory, written by pydicom: the decoder under test shares no code with their writer."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

DX_STORAGE = "1.2.840.10008.5.1.4.1.1.1.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def values(bits: int = 12, signed: bool = False, height: int = 150, width: int = 140, seed: int = 0) -> np.ndarray:
    """Pixels of a film of so many bits, both ends of the range among them."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    found = np.random.default_rng(seed).integers(low, high + 1, (height, width))
    found[0, :2] = low, high
    return found.astype(np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"))


def dicom(
    pixels: np.ndarray | bytes,
    bits: int = 12,
    syntax: str = ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    more: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    shape: tuple[int, int] = (150, 140),
) -> bytes:
    """A file with these pixels; ``more`` sets attributes by keyword, ``without`` takes some away.

    Args:
        pixels: (height, width) or (height, width, 3), or encapsulated frames as bytes.
    """
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DX_STORAGE, "1.2.3.4"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "DX", "CHEST", "PA"
    colour = isinstance(pixels, np.ndarray) and pixels.ndim == 3
    dataset.Rows, dataset.Columns = pixels.shape[:2] if isinstance(pixels, np.ndarray) else shape
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(isinstance(pixels, np.ndarray) and pixels.dtype.kind == "i")
    dataset.PixelData = _pixel_data(pixels, dataset, UID(syntax))
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated == 16 and not UID(syntax).is_encapsulated else "OB"
    for name, value in (more or {}).items():
        setattr(dataset, name, value)
    for name in without:
        delattr(dataset, name)
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A data set as a file with preamble and meta information."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = DX_STORAGE, "1.2.3.4"
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _pixel_data(pixels: np.ndarray | bytes, dataset: Dataset, syntax: UID) -> bytes:
    if isinstance(pixels, bytes):
        return pixels
    if syntax == RLELossless:
        options = {
            "rows": dataset.Rows,
            "columns": dataset.Columns,
            "samples_per_pixel": dataset.SamplesPerPixel,
            "photometric_interpretation": dataset.PhotometricInterpretation,
            "bits_allocated": dataset.BitsAllocated,
            "bits_stored": dataset.BitsStored,
            "pixel_representation": dataset.PixelRepresentation,
            "number_of_frames": 1,
            "planar_configuration": 0,
        }
        return encapsulate([get_encoder(syntax).encode(pixels, **options, encoding_plugin="pydicom")])
    if syntax == JPEGBaseline8Bit:
        return encapsulate([_by_pillow(pixels, "JPEG", quality=92)])
    if syntax == JPEG2000Lossless:
        return encapsulate([_by_pillow(pixels, "JPEG2000", no_jp2=True)])
    if syntax == ExplicitVRBigEndian:
        return pixels.astype(pixels.dtype.newbyteorder(">")).tobytes() + b"\0" * (pixels.nbytes % 2)
    return pixels.tobytes() + b"\0" * (pixels.nbytes % 2)


def _by_pillow(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
