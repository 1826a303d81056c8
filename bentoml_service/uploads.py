"""What may come in: one image of limited size, read into memory only, its file name never looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from bentoml_service.problems import RequestError

__all__ = ["FIELD", "read_upload"]

FIELD = "file"

_FRAMING = 16_384  # bytes that the multipart form may add to the file: boundaries, part headers, a few short fields
_MAX_FIELDS = 20  # further form fields, which are ignored
_SECONDS = 60.0  # for the whole body: 10 MB at 1.4 Mbit/s; shorter than the service's own time limit
_RAW_TYPES = ("image/jpeg", "image/png")


class _MemoryParser(MultiPartParser):
    """Starlette's parser without its temporary files: a request is refused before it could fill one."""

    spool_max_size = 1 << 40  # bytes, never reached


async def read_upload(request: Request, max_bytes: int) -> bytes:
    """The image of a request: the multipart field ``file``, or a raw body of type image/jpeg or image/png.

    Args:
        request: its body must not have been read.
        max_bytes: the file must be smaller (report 7.3).

    Raises:
        RequestError: 400 ``missing_file`` or ``malformed_body``, 408 ``body_timeout``, 413 ``body_too_large``, 415
            ``unsupported_media_type``.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = _limited(request, max_bytes + _FRAMING)
    try:
        async with asyncio.timeout(_SECONDS):
            if media_type == "multipart/form-data":
                data = await _form_file(request, body)
            elif media_type in _RAW_TYPES:
                data = b"".join([chunk async for chunk in body])
            elif not media_type:
                raise RequestError(400, "missing_file", f"Send the image as the multipart field '{FIELD}'.")
            else:
                raise RequestError(
                    415, "unsupported_media_type", "Send multipart/form-data, or a raw body of image/jpeg or image/png."
                )
    except TimeoutError as error:
        raise RequestError(408, "body_timeout", f"The body did not arrive within {_SECONDS:.0f} seconds.") from error
    except ClientDisconnect as error:
        raise RequestError(400, "malformed_body", "The body ended early.") from error
    if len(data) >= max_bytes:
        raise _too_large(max_bytes)
    return data


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in chunks, refused as soon as it is known to be larger than ``limit`` bytes."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit - _FRAMING)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit - _FRAMING)
        yield chunk


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "body_too_large", f"The file must be smaller than {max_bytes} bytes.")


async def _form_file(request: Request, body: AsyncGenerator[bytes, None]) -> bytes:
    try:
        parser = _MemoryParser(request.headers, body, max_files=1, max_fields=_MAX_FIELDS)
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(
            400, "malformed_body", "The multipart form is malformed, or holds more than one file."
        ) from error
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise RequestError(400, "missing_file", f"Send the image as the multipart field '{FIELD}', with a file name.")
    try:
        return await file.read()
    finally:
        await form.close()
