"""IPTC of a JPEG: title, keywords and rights as newsrooms and older programs write them."""

import struct
from xml.sax.saxutils import escape

from PIL import Image

SEGMENT_MAX = 65533 - 26
"""Bytes that fit into a JPEG's segment."""

_RESOURCE = 0x0404
_UTF8 = b"\x1b%G"
# Record and dataset -> property and container of XMP.
_PROPERTIES = {
    (2, 5): ("title", "Alt"), (2, 25): ("subject", "Bag"), (2, 80): ("creator", "Seq"),
    (2, 116): ("rights", "Alt"), (2, 120): ("description", "Alt"),
}  # fmt: skip
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about='
    '"" xmlns:dc="http://purl.org/dc/elements/1.1/">{}</rdf:Description></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
)


def from_image(image: Image.Image) -> bytes | None:
    """The records (IIM) in a JPEG's Photoshop segment."""
    records = (image.info.get("photoshop") or {}).get(_RESOURCE)
    return records or None


def to_segment(records: bytes) -> bytes:
    """A JPEG's segment with the records and nothing else of Photoshop's."""
    resource = b"8BIM" + struct.pack(">HHI", _RESOURCE, 0, len(records)) + records
    body = b"Photoshop 3.0\0" + resource + bytes(len(records) % 2)
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def to_xmp(records: bytes) -> bytes | None:
    """Title, keywords, author, rights and description as an XMP packet; None without any."""
    found: dict[tuple[str, str], list[str]] = {}
    encoding, place = "latin-1", 0
    while records[place : place + 1] == b"\x1c" and place + 5 <= len(records):
        record, dataset, size = struct.unpack_from(">BBH", records, place + 1)
        data, place = records[place + 5 : place + 5 + size], place + 5 + size
        if (record, dataset) == (1, 90) and data == _UTF8:
            encoding = "utf-8"
        elif (record, dataset) in _PROPERTIES:
            text = "".join(c for c in data.decode(encoding, "replace") if c.isprintable())
            found.setdefault(_PROPERTIES[record, dataset], []).append(text)
    if not found:
        return None
    return _PACKET.format("".join(_property(*one) for one in found.items())).encode()


def _property(place: tuple[str, str], texts: list[str]) -> str:
    name, container = place
    language = ' xml:lang="x-default"' if container == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{escape(text)}</rdf:li>" for text in texts)
    return f"<dc:{name}><rdf:{container}>{items}</rdf:{container}></dc:{name}>"
