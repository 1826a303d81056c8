"""Where a client's API key comes from: a file or the environment, never the command line."""

from __future__ import annotations

import os
from pathlib import Path

from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["KEY_VARIABLE", "find_key"]

KEY_VARIABLE = "CXR_API_KEY"


def find_key(file: Path | None = None) -> str:
    """The key of a file, else that of the environment variable ``CXR_API_KEY``.

    Raises:
        CxrError: neither holds one.
    """
    if file is not None:
        with explain_os_errors(file, "reading the API key"):
            key = file.read_text(errors="replace").strip()
        if not key:
            raise CxrError(f"{file} is empty: put the API key there.")
        return key
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return key
    raise CxrError(f"No API key: set {KEY_VARIABLE}, or name a file that holds it (--key-file FILE).")
