"""What a server allows, and for how long."""

import re
from dataclasses import dataclass
from typing import Final

from lorair.runtime.errors import OptionError

DEFAULT_QUEUE: Final = 32
DEFAULT_TIMEOUT: Final = 300.0
DEFAULT_MAX_BYTES: Final = 64_000_000
DEFAULT_MAX_PIXELS: Final = 40_000_000
DEFAULT_GRACE: Final = 60.0
DEFAULT_DECODE_TIMEOUT: Final = 30.0


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    queue: pictures that may wait, beside those in work; further ones are refused. 0: none.
    timeout: seconds from a request's last byte to its picture, waiting included.
    max_bytes: of a request's body.
    max_pixels: of a picture.
    patience: seconds that a body may take to come, and a block of an answer to be taken.
    min_rate: bytes a second of a body.
    slack: seconds that a body may fall behind `min_rate`; a pause counts in full.
    decode_timeout: seconds that a picture may take to decode, in a process of its own;
    0 decodes in the server's process, without a limit.
    token: that every request under /v1 has to show; None for none.
    allowed_hosts: names that the server answers to beside those of loopback; with a token,
        none means any.

    Raises OptionError: out of range.
    """

    queue: int = DEFAULT_QUEUE
    timeout: float = DEFAULT_TIMEOUT
    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS
    patience: float = 30.0
    min_rate: int = 16_000
    slack: float = 10.0
    decode_timeout: float = DEFAULT_DECODE_TIMEOUT
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, least in (
            ("--queue", self.queue, 0),
            ("--max-bytes", self.max_bytes, 1),
            ("--max-pixels", self.max_pixels, 1),
            ("--decode-timeout", self.decode_timeout, 0),
        ):
            if value < least:
                raise OptionError(name, wanted=f"at least {least}", found=str(value))
        for name, seconds in (("--timeout", self.timeout), ("patience", self.patience)):
            if not 0 < seconds < float("inf"):
                raise OptionError(name, wanted="a number of seconds", found=f"{seconds:g}")
        for name in self.allowed_hosts:
            if not re.fullmatch(r"[0-9a-z_.-]+|[0-9a-f:.]+", name):
                raise OptionError(
                    "--allowed-host",
                    wanted="a name in lower case, or an address, without a port",
                    found=name or "nothing",
                )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise OptionError("--token", wanted="printable ASCII", found="something else")
        if self.token is not None and (not self.token or " " in self.token):
            raise OptionError(
                "--token",
                wanted="a word",
                found="an empty text or spaces",
                hint="`openssl rand -hex 16` makes one",
            )
