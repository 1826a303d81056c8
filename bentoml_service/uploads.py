"""What may come in: films of limited size, read into memory only, their file names never looked at.

Whether the content is a film is judged later, by :func:`cxr_core.imaging.decode.decode`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from bentoml_service.forms import FILE_PARTS, FORM_BYTES, FormFile, FormReader
from bentoml_service.problems import RequestError
from cxr_core.errors import ImageRejected

__all__ = ["FIELD", "PATIENT_FIELD", "PATIENT_HEADER", "Upload", "Uploads", "read_upload", "read_uploads", "status_of"]

FIELD = FILE_PARTS[0]
PATIENT_FIELD = "patient_id"
PATIENT_HEADER = "x-patient-id"

_MAX_PATIENT = 128  # characters; twice what DICOM PS3.5 table 6.2-1 gives a patient id
_RAW_TYPES = ("image/jpeg", "image/png", "application/dicom")
_BYTES_IN_FLIGHT = 400_000_000  # of bodies that are being read at once in one process: four full batches, forty films
_NO_FILM_OF_OURS = ("not_an_image", "unsupported_format", "dicom_encoding")  # 415: another format is asked for

_in_flight = 0  # bytes; touched by the event loop's thread alone


@dataclass(frozen=True, repr=False)
class Upload:
    """One film as it came.

    Attributes:
        data: the file's bytes.
        patient_id: what the client calls the patient; for the pseudonym in the audit trail and nothing else.
    """

    data: bytes
    patient_id: str | None = None

    def __repr__(self) -> str:
        """Neither content nor patient, so that neither can reach a log by way of a message."""
        return f"Upload({len(self.data)} bytes)"


@dataclass(frozen=True, repr=False)
class Uploads:
    """The films of one batch.

    Attributes:
        items: in the order of the form; an error where a film is too large, while the others go on.
        patient_id: of all of them, as in :class:`Upload`.
    """

    items: tuple[Upload | RequestError, ...]
    patient_id: str | None = None

    def __repr__(self) -> str:
        return f"Uploads({len(self.items)} items)"


def status_of(error: ImageRejected) -> int:
    """HTTP status of a film that was refused: 415 where another format is needed, 422 where the film is not usable."""
    return 415 if error.code in _NO_FILM_OF_OURS else 422


async def read_upload(request: Request, max_bytes: int, seconds: float) -> Upload:
    """The film of a request: the multipart field ``file``, or a raw body of JPEG, PNG or DICOM.

    Args:
        request: its body must not have been read.
        max_bytes: the file must be smaller (report 7.3); counted while it arrives, whatever length was declared.
        seconds: within which the whole body must arrive.

    Raises:
        RequestError: 400 ``missing_file``, ``too_many_files`` or ``malformed_body``, 408 ``body_timeout``, 413
            ``body_too_large``, 415 ``unsupported_media_type``, 422 ``patient_id``, 503 ``overloaded``.
    """
    media_type = _media_type(request)
    if media_type in _RAW_TYPES:
        data = bytearray()
        async with aclosing(_body(request, max_bytes, max_bytes, seconds)) as body:
            async for chunk in body:
                data += chunk
        if len(data) >= max_bytes:
            raise _too_large(max_bytes)
        return Upload(bytes(data), _patient(request, {}))
    if media_type and media_type != "multipart/form-data":
        raise RequestError(
            415,
            "unsupported_media_type",
            f"Send multipart/form-data, or a raw body of {', '.join(_RAW_TYPES[:-1])} or {_RAW_TYPES[-1]}.",
        )
    items, patient = await _form(request, max_bytes, 1, seconds)
    if isinstance(items[0], RequestError):
        raise items[0]
    return Upload(items[0].data, patient)


async def read_uploads(request: Request, max_bytes: int, max_files: int, seconds: float) -> Uploads:
    """The films of a batch: the multipart field ``file`` or ``files``, once for each.

    Args:
        request, max_bytes, seconds: as in :func:`read_upload`; ``max_bytes`` for each file.
        max_files: films at most.

    Raises:
        RequestError: as :func:`read_upload`; 413 only where the whole body is larger than a full batch can be.
    """
    media_type = _media_type(request)
    if media_type and media_type != "multipart/form-data":
        raise RequestError(415, "unsupported_media_type", "Send the films as multipart/form-data.")
    return Uploads(*await _form(request, max_bytes, max_files, seconds))


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _form(
    request: Request, max_bytes: int, max_files: int, seconds: float
) -> tuple[tuple[Upload | RequestError, ...], str | None]:
    if not _media_type(request):
        raise _missing_file()
    form = FormReader(request.headers["content-type"], max_bytes, max_files, (PATIENT_FIELD,))
    async with aclosing(_body(request, max_files * max_bytes + FORM_BYTES, max_bytes, seconds)) as body:
        async for chunk in body:
            form.feed(chunk)
    films = [file for file in form.files if file.name in FILE_PARTS and file.complete]
    if not films:
        raise _missing_file()
    patient = _patient(request, form.fields)
    return tuple(_item(file, patient, max_bytes) for file in films), patient


def _item(file: FormFile, patient: str | None, max_bytes: int) -> Upload | RequestError:
    return _too_large(max_bytes) if file.oversized else Upload(bytes(file.data), patient)


async def _body(request: Request, limit: int, max_bytes: int, seconds: float) -> AsyncGenerator[bytes, None]:
    """The body in chunks, refused as soon as it is known to be larger than ``limit`` bytes or to be late."""
    global _in_flight
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):
        raise _too_large(max_bytes)
    deadline = asyncio.get_running_loop().time() + seconds
    chunks = aiter(request.stream())
    received = 0
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            received += len(chunk)
            _in_flight += len(chunk)
            if received > limit:
                raise _too_large(max_bytes)
            if _in_flight > _BYTES_IN_FLIGHT:
                raise RequestError(503, "overloaded", "The service is reading as much as it can: try again shortly.")
            yield chunk
    except TimeoutError as error:
        raise RequestError(408, "body_timeout", f"The body did not arrive within {seconds:g} seconds.") from error
    except ClientDisconnect as error:
        raise RequestError(400, "malformed_body", "The body ended early.") from error
    finally:
        _in_flight -= received


def _patient(request: Request, fields: dict[str, bytes]) -> str | None:
    """The patient id of form field or header; bytes are UTF-8.

    Raises:
        RequestError: 422 ``patient_id``: too long, not printable, or two that differ.
    """
    given = [request.headers[PATIENT_HEADER].encode("latin-1")] if PATIENT_HEADER in request.headers else []
    given += [fields[PATIENT_FIELD]] if PATIENT_FIELD in fields else []
    try:
        found = {text for text in (value.decode().strip() for value in given) if text}
    except UnicodeDecodeError as error:
        raise _bad_patient() from error
    if len(found) > 1 or any(len(text) > _MAX_PATIENT or not text.isprintable() for text in found):
        raise _bad_patient()
    return found.pop() if found else None


def _bad_patient() -> RequestError:
    return RequestError(
        422, "patient_id", f"Send one patient id of at most {_MAX_PATIENT} printable characters in UTF-8, or none."
    )


def _missing_file() -> RequestError:
    return RequestError(400, "missing_file", f"Send the film as the multipart field '{FIELD}', with a file name.")


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "body_too_large", f"The file must be smaller than {max_bytes} bytes.")
