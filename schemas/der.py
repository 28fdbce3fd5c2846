"""The little of DER (X.690) that key files need: lengths under 64 KiB, one tag at a time."""

from __future__ import annotations

from typing import NamedTuple

INTEGER, OCTETS, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30

_LONG = 0x80
_WIDTHS = {0x81: 1, 0x82: 2}


class Item(NamedTuple):
    """One element: its tag, its content, and what follows it."""

    tag: int
    content: bytes
    rest: bytes


def encode(tag: int, *parts: bytes) -> bytes:
    """Encode an element whose content is the parts, one after the other."""
    content = b"".join(parts)
    size = len(content)
    if size < _LONG:
        return bytes((tag, size)) + content
    width = 1 if size <= 0xFF else 2  # noqa: PLR2004
    return bytes((tag, _LONG | width)) + size.to_bytes(width, "big") + content


def encode_integer(number: int) -> bytes:
    """Encode an integer that is not negative."""
    return encode(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def read(raw: bytes, tag: int | None = None) -> Item:
    """Read the first element, of the tag where one is given; raise ValueError."""
    if len(raw) < 2:  # noqa: PLR2004  (a tag and a length)
        raise ValueError("DER ends too early")
    found, size, start = raw[0], raw[1], 2
    if size >= _LONG:
        width = _WIDTHS.get(size)
        if width is None:
            raise ValueError("DER length is of a form that no key file has")
        size, start = int.from_bytes(raw[2 : 2 + width], "big"), 2 + width
        if size < (_LONG if width == 1 else 0x100):
            raise ValueError("DER length is not the shortest")
    content = raw[start : start + size]
    if len(content) != size:
        raise ValueError("DER ends too early")
    if tag is not None and found != tag:
        raise ValueError(f"DER has tag {found:#04x} where {tag:#04x} belongs")
    return Item(found, content, raw[start + size :])


def read_integer(raw: bytes) -> tuple[int, bytes]:
    """Read an integer; return it and what follows it."""
    item = read(raw, INTEGER)
    if not item.content:
        raise ValueError("DER integer is empty")
    return int.from_bytes(item.content, "big", signed=True), item.rest
