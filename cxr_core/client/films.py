"""Which films there are under the paths that a person names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.imaging.decode import sniff_format

__all__ = ["Film", "Found", "find_films"]

_KINDS = frozenset({"JPEG", "PNG", "DICOM"})
_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".dcm", ".dicom"})
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "dicomdir"})  # a DICOMDIR is an index of a disc
_HEAD = 132  # bytes that tell a DICOM file, the format that says it last


@dataclass(frozen=True)
class Film:
    """One file: where it lies, and the name that results give it (relative to the named folder, with slashes)."""

    path: Path
    name: str


@dataclass(frozen=True)
class Found:
    """What lies under the named paths.

    Attributes:
        films: each once, folders sorted by path (TRAPS 4).
        others: number of files left out because neither content nor suffix is that of a film.
    """

    films: tuple[Film, ...]
    others: int


def find_films(paths: Sequence[Path]) -> Found:
    """List films: a file that is named, and in folders every JPEG, PNG or DICOM file, by content or by suffix.

    A damaged file with the suffix of a film is listed, so that its error is seen.

    Raises:
        CxrError: a path is not there, or nothing is found.
    """
    films: list[Film] = []
    others = 0
    several = len(paths) > 1
    for path in paths:
        if not path.is_dir():
            with explain_os_errors(path, "looking for films"):
                path.stat()
            films.append(Film(path, path.as_posix()))
            continue
        for file in _inside(path):
            name = file.relative_to(path).as_posix()
            if _is_film(file):
                films.append(Film(file, f"{path.as_posix()}/{name}" if several else name))
            else:
                others += 1
    if not films:
        raise CxrError(f"No film in {', '.join(map(str, paths))}: name a folder with JPEG, PNG or DICOM files.")
    return Found(tuple(dict.fromkeys(films)), others)


def _inside(folder: Path) -> Iterator[Path]:
    try:
        yield from _walk(folder, frozenset())
    except OSError as error:  # the name of an inner folder may be a patient's, and this sentence reaches logs
        raise CxrError(
            f"{folder} cannot be read as a whole: give this user access to what `find {folder} ! -readable` lists."
        ) from error


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    identity = status.st_dev, status.st_ino
    if identity in above:  # a link back to a folder that we are inside of
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _LITTER:
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), above | {identity})
        elif entry.is_file() or not Path(entry.path).exists():  # a broken link is shown, a pipe would never end
            yield Path(entry.path)


def _is_film(path: Path) -> bool:
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return sniff_format(stream.read(_HEAD)) in _KINDS
    except OSError:  # a broken link or an unreadable file that may be a film: its row says so
        return True
