"""Pictures: file to array and back. What is kept and what is lost: docs/pictures.md."""

from lorair.runtime.images.formats import FORMATS, WRITABLE, Encoding, check_format
from lorair.runtime.images.picture import (
    MIN_PIXELS,
    Metadata,
    Picture,
    Samples,
    check_size,
    side_by_side,
    to_uint8,
)
from lorair.runtime.images.read import read
from lorair.runtime.images.write import write
from lorair.runtime.system.limits import DEFAULT_MAX_PIXELS

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "FORMATS",
    "MIN_PIXELS",
    "WRITABLE",
    "Encoding",
    "Metadata",
    "Picture",
    "Samples",
    "check_format",
    "check_size",
    "read",
    "side_by_side",
    "to_uint8",
    "write",
]
