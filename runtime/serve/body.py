"""A picture out of a request, in memory, with limits on its size and its time."""

from collections.abc import AsyncGenerator
from typing import Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from lorair.runtime.errors import RequestError
from lorair.runtime.serve.places import Place
from lorair.runtime.serve.schema import MEDIA
from lorair.runtime.serve.settings import Settings

FORM: Final = "multipart/form-data"
ANY: Final = "application/octet-stream"
PICTURES: Final = (
    *MEDIA.values(),
    *(f"image/{kind}" for kind in ("gif", "heic", "heif", "jpg", "x-ms-bmp")),
    *(f"image/x-portable-{kind}map" for kind in ("any", "bit", "gray", "pix")),
    ANY,
    "application/x-www-form-urlencoded",  # what curl --data-binary says of any body
    "",
)
"""Content types of a body that is a picture; what it is, its bytes say."""

_OVERHEAD: Final = 10_000
"""Bytes of a form that are not the picture."""

_SMALL: Final = 64 * 1024
"""Bytes of a body that are held without a place."""


async def read_picture(request: Request, settings: Settings, place: Place) -> bytes:
    """Return the bytes of a request's picture: the body, or the one file of a form.

    A form's file name is not looked at. The place is taken when it has come, or more of it
    than `_SMALL`: a client that sends next to nothing keeps nobody out.

    Raises:
        BusyError: there is no place.
        RequestError: another content type, too long, too slow, or no form with one file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM and kind not in PICTURES:
        raise RequestError(
            415,
            "cannot take the body",
            wanted=f"a picture's content type, such as {MEDIA['png']}, or {FORM}",
            found=kind[:100],
            hint=f"name its content type; {ANY} if it is not known",
        )
    limit = settings.max_bytes + (_OVERHEAD if kind == FORM else 0)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_long(settings, f"{declared} bytes")
    try:
        async with place.pace(min(settings.slack, settings.patience)):
            stream = _limited(request, settings, limit, place)
            content = await (_form(request, stream, limit) if kind == FORM else _raw(stream))
    except TimeoutError:
        raise RequestError(
            408,
            "the body came too slowly",
            wanted=f"{settings.min_rate} bytes a second, and all of it within "
            f"{settings.patience:g} s",
            found="less",
            hint="send a smaller picture, or over a faster line",
        ) from None
    place.take()
    return content


async def _limited(
    request: Request, settings: Settings, limit: int, place: Place
) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes; raise at the limit."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_long(settings, "more")
        place.moved(len(chunk))
        if size > _SMALL:
            place.take()
        yield chunk


async def _raw(stream: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def _form(request: Request, stream: AsyncGenerator[bytes, None], limit: int) -> bytes:
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=0)
    parser.spool_max_size = limit  # in memory, like any body
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _bad_form(error.message) from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if len(files) != 1:
        raise _bad_form("none")
    content = await files[0].read()
    await form.close()
    return content


def _bad_form(found: str) -> RequestError:
    return RequestError(
        400, "cannot read the form", wanted="one file and nothing else", found=found,
        hint="curl -F picture=@photo.jpg sends one",
    )  # fmt: skip


def _too_long(settings: Settings, found: str) -> RequestError:
    return RequestError(
        413,
        "cannot take the body",
        wanted=f"at most {settings.max_bytes} bytes",
        found=found,
        hint="send a smaller file; the server's --max-bytes is the limit",
    )
