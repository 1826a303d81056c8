"""Find the image files of a class-folder tree: sorted, any extension, symlink-safe, publisher splits merged.

``Normal/a.jpg``, ``train/NORMAL/a.JPG`` and ``chest_xray/test/tb/a.png`` are all understood. Every file inside a class
folder is a candidate; what is no image is quarantined later with a reason, never dropped here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["SIDECAR", "RawFile", "scan"]

SIDECAR = "metadata.csv"

_SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_ALIASES = {"tb": "tuberculosis", "healthy": "normal"}  # folder names seen in public copies
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what operating systems leave behind
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"}


@dataclass(frozen=True)
class RawFile:
    """One file of the raw folder.

    Attributes:
        file: path relative to the raw folder, with forward slashes.
        label: class of the folder it lies in, spelt as in the settings.
        size: bytes; -1 where the file cannot be read (a broken link).
        mtime_ns: time of the last change, nanoseconds.
    """

    file: str
    label: str
    size: int
    mtime_ns: int


def scan(raw_dir: Path, labels: Sequence[str], every_class: bool = True) -> list[RawFile]:
    """List the candidate images under ``raw_dir``, sorted by path.

    Args:
        raw_dir: folder with the class folders, possibly inside publisher folders such as ``train``.
        labels: class names; folders are matched to them without regard to case.
        every_class: refuse a folder that lacks films of a class.

    Raises:
        CxrError: the folder is missing, unreadable or empty, images lie in a folder that is no class, or a class
            has no films though each has to.
    """
    if not raw_dir.is_dir():
        raise CxrError(f"The image folder {raw_dir} is not there: set CXR_RAW_DIR to a folder of class folders.")
    by_name = {label.lower(): label for label in labels}
    files = sorted(_walk(raw_dir, "", None, by_name, {_identity(raw_dir)}), key=lambda raw: raw.file)
    if not files:
        raise CxrError(f"No image in {raw_dir}: put one folder a class there ({', '.join(labels)}) or set CXR_RAW_DIR.")
    missing = [label for label in labels if label not in {raw.label for raw in files}]
    if missing and every_class:
        rest = ",".join(label for label in labels if label not in missing)
        raise CxrError(f"No images of class {', '.join(missing)} in {raw_dir}: add them, or set CXR_LABELS={rest}.")
    return files


def _walk(
    folder: Path, prefix: str, label: str | None, by_name: dict[str, str], above: set[tuple[int, int]]
) -> Iterator[RawFile]:
    with explain_os_errors(folder, "reading the image folder"):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name.lower() in _LITTER:
            continue
        relative = f"{prefix}{name}"
        if entry.is_dir():
            identity = _identity(Path(entry.path))
            if identity in above:  # a link back to a folder that we are inside of
                continue
            inner = label or _label_of(name, by_name)
            yield from _walk(Path(entry.path), f"{relative}/", inner, by_name, above | {identity})
        elif label is not None:
            yield _raw_file(entry, relative, label)
        elif Path(name).suffix.lower() in _IMAGE_SUFFIXES:
            place = f"folder {prefix.rstrip('/')}" if prefix else "top folder"
            raise CxrError(
                f"{relative} lies in the {place}, which is no class: move it into one of "
                f"{', '.join(by_name.values())}, or name the classes by CXR_LABELS."
            )


def _label_of(name: str, by_name: dict[str, str]) -> str | None:
    key = name.strip().lower()
    if key in _SPLIT_FOLDERS:
        return None
    return by_name.get(key) or by_name.get(_ALIASES.get(key, ""))


def _raw_file(entry: os.DirEntry[str], relative: str, label: str) -> RawFile:
    try:
        status = entry.stat()
    except OSError:  # a broken link: kept, and quarantined as unreadable
        return RawFile(relative, label, -1, 0)
    return RawFile(relative, label, status.st_size, status.st_mtime_ns)


def _identity(folder: Path) -> tuple[int, int]:
    with explain_os_errors(folder, "reading the image folder"):
        status = folder.stat()
    return status.st_dev, status.st_ino
