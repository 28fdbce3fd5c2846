"""Prefixes and identifiers: the grammar, the canonical form, and who covers whom.

    identifier = prefix "/" suffix
    prefix     = number *( "." label )       ; 1 to 16 labels, written "." when it is the root
    number     = 1*128DIGIT
    label      = 1*128( DIGIT / %x61-7A ), with single "-" between them
    suffix     = 1*( Unicode in NFC, no control, format, surrogate or private-use character,
                     no space but U+0020, and that neither first nor last )

Labels are strings: `88.101.0042` is not `88.101.42` (published examples carry leading zeros).
The canonical form is the text itself: nothing is folded or repaired, what is not canonical is
refused with the character and its position, so that one thing has one name and one cache key.
In a URL path the canonical bytes are percent-encoded (RFC 3986 §3.3) and decoded exactly once.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote_to_bytes

from .errors import BadIdentifier

MAX_LABEL = 128
MAX_LABELS = 16
MAX_BYTES = 1024  # of a whole identifier in UTF-8: two of them fit one B-tree entry
ROOT_TEXT = "."

_NUMBER = re.compile(r"[0-9]+")
_LABEL = re.compile(r"[0-9a-z]+(?:-[0-9a-z]+)*")
_PRINTABLE = re.compile(r"[!-~]+(?: +[!-~]+)*")
_REFUSED = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "a lone surrogate",
    "Co": "a private-use character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space other than U+0020",
}
_PATH_SAFE = "/!$&'()*+,;=:@"  # RFC 3986 pchar beyond the unreserved, and the slash


def _name(char: str) -> str:
    return f"U+{ord(char):04X}" + (f" {char!r}" if char.isprintable() else "")


@dataclass(frozen=True, slots=True)
class Prefix:
    """A delegated namespace; its labels are compared one by one, never as a string."""

    labels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a dotted prefix; raise BadIdentifier with the position of the first fault."""
        if text == ROOT_TEXT:
            return cls(())
        if not text:
            raise BadIdentifier("the prefix is empty", value=text, position=0)
        if len(text) > MAX_BYTES:
            raise BadIdentifier(
                f"the prefix has {len(text)} characters, the limit is {MAX_BYTES}",
                value=text,
                position=MAX_BYTES,
            )
        labels = tuple(text.split("."))
        if len(labels) > MAX_LABELS:
            at = len(".".join(labels[:MAX_LABELS]))
            raise BadIdentifier(
                f"the prefix has {len(labels)} labels, the limit is {MAX_LABELS}",
                value=text,
                position=at,
            )
        at = 0
        for index, label in enumerate(labels):
            _check_label(text, label, at, first=index == 0)
            at += len(label) + 1
        return cls(labels)

    @property
    def is_root(self) -> bool:
        """True for the root, which has no labels."""
        return not self.labels

    @property
    def parent(self) -> Prefix:
        """The prefix one label up; the root is its own parent."""
        return Prefix(self.labels[:-1])

    def covers(self, other: Prefix) -> bool:
        """Tell whether `other` is this prefix or lies below it, label by label."""
        return other.labels[: len(self.labels)] == self.labels

    def ancestors(self) -> tuple[Prefix, ...]:
        """Every prefix strictly above, nearest first, the root last."""
        return tuple(Prefix(self.labels[:n]) for n in range(len(self.labels) - 1, -1, -1))

    def __str__(self) -> str:
        return ".".join(self.labels) if self.labels else ROOT_TEXT


def _check_label(text: str, label: str, at: int, *, first: bool) -> None:
    if not label:
        raise BadIdentifier(
            "the prefix has an empty label", value=text, position=at, fix="remove the extra dot"
        )
    if len(label) > MAX_LABEL:
        raise BadIdentifier(
            f"a label has {len(label)} characters, the limit is {MAX_LABEL}",
            value=text,
            position=at + MAX_LABEL,
        )
    pattern = _NUMBER if first else _LABEL
    found = pattern.match(label)
    end = found.end() if found else 0
    if end == len(label):
        return
    char = label[end]
    allowed = "digits 0-9" if first else "digits, lower-case letters a-z and single inner hyphens"
    fix = "write the prefix in lower case" if "A" <= char <= "Z" and not first else None
    raise BadIdentifier(
        f"{_name(char)} at position {at + end} may not stand in a prefix label: {allowed}",
        value=text,
        position=at + end,
        fix=fix,
    )


@dataclass(frozen=True, slots=True)
class Identifier:
    """A full code, `prefix/suffix`; `text` is its one canonical spelling."""

    prefix: Prefix
    suffix: str
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"{self.prefix}/{self.suffix}")

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Identifier) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)  # which remembers its own

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an identifier; raise BadIdentifier with the position of the first bad character."""
        head, slash, suffix = text.partition("/")
        if not slash:
            raise BadIdentifier(
                "an identifier is prefix/suffix, and there is no slash",
                value=text,
                position=len(text),
                fix="append '/' and the suffix, such as 88.118.8/ABC-0001",
            )
        if not head or head == ROOT_TEXT:
            raise BadIdentifier(
                "an identifier needs a prefix before the slash", value=text, position=0
            )
        try:
            prefix = Prefix.parse(head)
        except BadIdentifier as err:
            raise BadIdentifier(
                err.detail, value=text, position=err.position, fix=err.fix
            ) from None
        _check_suffix(text, suffix, len(head) + 1)
        return cls(prefix, suffix)

    @classmethod
    def from_path(cls, raw: bytes) -> Self:
        """Read an identifier from raw URL path bytes (no leading slash), percent-decoding once.

        `%2F` is a slash like any other. Raises BadIdentifier on a broken escape or bad UTF-8.
        """
        if b"%" in raw:
            broken = re.search(rb"%(?![0-9A-Fa-f]{2})", raw)
            if broken:
                raise BadIdentifier(
                    f"the percent sign at position {broken.start()} begins no escape",
                    value=raw.decode("latin-1"),
                    position=broken.start(),
                    fix="write a literal percent sign as %25",
                )
            raw = unquote_to_bytes(raw)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as err:
            raise BadIdentifier(
                f"the path is not UTF-8 at byte {err.start}",
                value=raw.decode("latin-1"),
                position=err.start,
                fix="percent-encode the UTF-8 bytes of the identifier",
            ) from None
        return cls.parse(text)

    @property
    def key(self) -> bytes:
        """The canonical bytes: the cache key."""
        return self.text.encode()

    @property
    def path(self) -> str:
        """The canonical URL path, without a leading slash."""
        return f"{self.prefix}/{quote(self.suffix, safe=_PATH_SAFE)}"

    def __str__(self) -> str:
        return self.text


def _check_suffix(text: str, suffix: str, at: int) -> None:
    if not suffix:
        raise BadIdentifier("the suffix is empty", value=text, position=at)
    if len(text) > MAX_BYTES or (not text.isascii() and _utf8_length(text) > MAX_BYTES):
        raise BadIdentifier(
            f"the identifier is longer than {MAX_BYTES} bytes of UTF-8",
            value=text,
            position=min(len(text), MAX_BYTES),
        )
    if _PRINTABLE.fullmatch(suffix):  # nearly every real suffix ends here
        return
    _check_characters(text, suffix, at)
    _check_normal_form(text, suffix, at)


def _check_characters(text: str, suffix: str, at: int) -> None:
    for offset, char in enumerate(suffix):
        category = unicodedata.category(char)
        if category in _REFUSED and char != " ":
            raise BadIdentifier(
                f"{_name(char)} at position {at + offset} is {_REFUSED[category]}",
                value=text,
                position=at + offset,
            )
    for offset in (0, len(suffix) - 1):
        if suffix[offset] == " ":
            raise BadIdentifier(
                f"the suffix may not begin or end with a space (position {at + offset})",
                value=text,
                position=at + offset,
            )


def _check_normal_form(text: str, suffix: str, at: int) -> None:
    normal = unicodedata.normalize("NFC", suffix)
    if normal == suffix:
        return
    offset = next(
        (i for i, (a, b) in enumerate(zip(suffix, normal, strict=False)) if a != b),
        min(len(normal), len(suffix) - 1),
    )
    raise BadIdentifier(
        f"{_name(suffix[offset])} at position {at + offset} is not in Unicode form NFC",
        value=text,
        position=at + offset,
        fix="normalise the suffix to NFC before you send it",
    )


def _utf8_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
