"""Errors that a person is meant to read: one sentence that names the file or field and says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CxrError", "ImageRejected", "explain_os_errors"]


class CxrError(Exception):
    """A problem that the user can mend; its text is one sentence that says how."""


class ImageRejected(CxrError):
    """An image that cannot be used.

    Attributes:
        code: stable machine name of the reason, for example ``truncated`` or ``too_small``.
        reason: one sentence for a person; never holds the file name.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@contextmanager
def explain_os_errors(path: Path | str, doing: str) -> Iterator[None]:
    """Turn the operating system's error into a sentence that names ``path`` and the way out.

    Args:
        path: the file or folder in question.
        doing: what was being done, as a verb phrase ("writing the store").

    Raises:
        CxrError: in place of any ``OSError`` raised inside the block.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CxrError(
                f"No space left while {doing} at {where}: free some space or set CXR_STORE elsewhere."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CxrError(
                f"No permission while {doing} at {where}: give this user access to it and run again."
            ) from error
        if error.errno == errno.ENOENT:
            raise CxrError(f"{where} is not there while {doing}: check the path.") from error
        raise CxrError(f"{error.strerror or error} while {doing} at {where}.") from error
