"""Who may ask: under which name, from which site, with which token."""

import hmac
import ipaddress
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from lorair.runtime.errors import RequestError
from lorair.runtime.serve.settings import Settings

_GUARDED: Final = ("/v1/", "/metrics")
_PROBES: Final = ("/healthz", "/readyz")
"""Answered under any name: who probes a container uses its address."""

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]]+)(?::[0-9]*)?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(scope: Scope, settings: Settings) -> RequestError | None:
    """Return why a request is refused, or None if it is not."""
    headers, path = Headers(scope=scope), scope["path"]
    if path not in _PROBES and not _is_our_name(headers.get("host", ""), settings):
        return RequestError(
            421,
            "the server does not answer to this name",
            wanted=", ".join(("localhost", *settings.allowed_hosts)),
            found=headers.get("host", "none")[:100],
            hint="start it with --allowed-host NAME if the name is its own",
        )
    if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_foreign(headers):
        return RequestError(
            403,
            "a page of another site sent the request",
            wanted="the server's own page, or a program",
            found=headers.get("origin", "another site")[:100],
            hint="open the server's own page; a proxy in front has to pass the Host header on",
        )
    if path.startswith(_GUARDED) and not _shows_token(headers, settings.token):
        return RequestError(
            401,
            "the server is locked",
            wanted="the server's token",
            found="a wrong one" if "authorization" in headers else "none",
            hint="send the header Authorization: Bearer TOKEN",
        )
    return None


def _is_our_name(host: str, settings: Settings) -> bool:
    """Whether a page under this name cannot be another's whose name was bound to our address.

    With a token and no names given, any will do: the server cannot know by which it is
    reached, and such a page has no token.
    """
    if settings.token is not None and not settings.allowed_hosts:
        return True
    found = _HOST.fullmatch(host.lower())
    name = found[1].strip("[]") if found else ""
    return is_loopback(name) or name in settings.allowed_hosts


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that another site's page asks; older ones say only the origin."""
    if site := headers.get("sec-fetch-site"):
        return site in ("cross-site", "same-site")
    origin, host = headers.get("origin"), headers.get("host", "")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()


def _shows_token(headers: Headers, token: str | None) -> bool:
    if token is None:
        return True
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        shown.strip().encode(), token.encode()
    )
