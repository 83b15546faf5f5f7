"""Pictures: file to array and back. What is kept and what is lost: docs/pictures.md."""

from lorair.runtime.images.compare import side_by_side
from lorair.runtime.images.formats import FORMATS, WRITABLE, Encoding, check_format
from lorair.runtime.images.picture import (
    DEFAULT_MAX_PIXELS,
    MIN_PIXELS,
    Metadata,
    Picture,
    Samples,
    check_size,
    to_uint8,
)
from lorair.runtime.images.read import read
from lorair.runtime.images.write import write

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
