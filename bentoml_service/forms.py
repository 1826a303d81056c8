"""Multipart forms read into memory: files and short fields, each bounded; no temporary file, no file name kept.

Starlette's own parser writes files to disk (TRAPS 25, 26) and bounds neither a part's header nor the number of parts of
one kind; this one feeds ``python_multipart`` with callbacks that count.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from bentoml_service.problems import RequestError

__all__ = ["FILE_PARTS", "FORM_BYTES", "FormFile", "FormReader"]

FILE_PARTS = ("file", "files")  # names of the parts that carry films
FORM_BYTES = 16_384  # that a form may add to its files: boundaries, part headers, a few short fields

_MAX_FIELDS = 20  # parts without a file name; those that nobody asked for are ignored
_MAX_FIELD_BYTES = 1024  # of one such part: a patient id has 128 characters of up to 4 bytes

# Its warnings quote bytes of the body.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


@dataclass
class FormFile:
    """One file of a form.

    Attributes:
        name: the part's field name, never the file's.
        data: its bytes; empty once it is ``oversized``.
        oversized: whether it has as many bytes as are not allowed, or more.
        complete: whether its end was seen.
    """

    name: str
    data: bytearray = field(default_factory=bytearray, repr=False)
    oversized: bool = False
    complete: bool = False


class FormReader:
    """Collects a multipart body that arrives in chunks.

    Attributes:
        files: parts with a file name, in order.
        fields: name to bytes of the parts without one; of several with one name the last.
    """

    def __init__(self, media_type: str, max_bytes: int, max_files: int, wanted: Sequence[str]) -> None:
        """
        Args:
            media_type: the request's Content-Type, with its boundary.
            max_bytes: a file must be smaller; the bytes of a larger one are dropped as they come.
            max_files: parts with a file name at most.
            wanted: names of fields without a file name that are kept.

        Raises:
            RequestError: 400 ``malformed_body``: there is no usable boundary.
        """
        self.files: list[FormFile] = []
        self.fields: dict[str, bytes] = {}
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._wanted = frozenset(wanted)
        self._count = 0
        self._file: FormFile | None = None
        self._field: str | None = None
        self._value = bytearray()
        self._header, self._content, self._disposition = bytearray(), bytearray(), b""
        boundary = parse_options_header(media_type.encode("latin-1", "replace"))[1].get(b"boundary")
        if not boundary:
            raise _malformed()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            RequestError: 400 ``malformed_body`` or ``too_many_files``.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed() from error

    def _begin(self) -> None:
        self._file, self._field, self._value, self._disposition = None, None, bytearray(), b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._content)
        self._header, self._content = bytearray(), bytearray()

    def _headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise _malformed()
        name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options and b"filename*" not in options:
            self._count += 1
            if self._count > _MAX_FIELDS:
                raise _malformed()
            self._field = name
            return
        if len(self.files) == self._max_files:
            limit = "one file" if self._max_files == 1 else f"{self._max_files} files"
            raise RequestError(400, "too_many_files", f"Send {limit} at most in one request.")
        self._file = FormFile(name)
        self.files.append(self._file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            if len(self._value) + end - start > _MAX_FIELD_BYTES:
                if self._field in self._wanted:
                    raise _malformed()
                return
            self._value += data[start:end]
        elif self._file.name in FILE_PARTS and not self._file.oversized:
            if len(self._file.data) + end - start >= self._max_bytes:
                self._file.oversized = True
                self._file.data = bytearray()
            else:
                self._file.data += data[start:end]

    def _end(self) -> None:
        if self._file is not None:
            self._file.complete = True
        elif self._field in self._wanted and self._field is not None:
            self.fields[self._field] = bytes(self._value)


def _malformed() -> RequestError:
    return RequestError(
        400, "malformed_body", "The multipart form is malformed: send each film as a part named 'file'."
    )
