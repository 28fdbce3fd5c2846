"""GS1 keys as events name them: EPC URNs and GS1 Digital Link URIs, one canonical path for both.

    urn:epc:id:sgtin:0614141.112345.400                 01/10614141123459/21/400
    urn:epc:class:lgtin:4012345.012345.Lot987           01/04012345123456/10/Lot987
    urn:epc:idpat:sgtin:4012345.066666.*                01/04012345666663, and a pattern
    https://id.example/01/04012345999990/21/A%2F1?x=y   01/04012345999990/21/A%2F1

The path is that of a canonical Digital Link (GS1 Digital Link URI Syntax 4.12) at the finest level
that identifies: a serial number needs neither lot nor variant. A URN has no check digit; it is
computed. That of a Digital Link is compared, and told apart from bad syntax: published test data
have wrong ones. Sources: EPC Tag Data Standard 2.x §6 and 7; the keys and their qualifiers are
those of the GS1 Syntax Dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote, unquote_to_bytes

from schemas.errors import BadEvent

MAX_URI = 4096
MAX_SEGMENTS = 8  # of a key and its qualifiers

# Set 82 and set 39 of the GS1 General Specifications.
_X = r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]"
_Y = r"[#\-/0-9A-Z]"

# Of each key: its form; how many of its first characters end in a check digit (0: none).
_KEYS: Final[Mapping[str, tuple[re.Pattern[str], int]]] = {
    "00": (re.compile(r"[0-9]{18}"), 18),
    "01": (re.compile(r"[0-9]{14}"), 14),
    "253": (re.compile(rf"[0-9]{{13}}{_X}{{0,17}}"), 13),
    "255": (re.compile(r"[0-9]{13}[0-9]{0,12}"), 13),
    "401": (re.compile(rf"[0-9]{{4}}{_X}{{0,26}}"), 0),
    "402": (re.compile(r"[0-9]{17}"), 17),
    "414": (re.compile(r"[0-9]{13}"), 13),
    "417": (re.compile(r"[0-9]{13}"), 13),
    "8003": (re.compile(rf"0[0-9]{{13}}{_X}{{0,16}}"), 14),
    "8004": (re.compile(rf"[0-9]{{4}}{_X}{{0,26}}"), 0),
    "8006": (re.compile(r"[0-9]{14}(?!00)[0-9]{2}(?!00)[0-9]{2}"), 14),
    "8010": (re.compile(rf"[0-9]{{4}}{_Y}{{0,26}}"), 0),
    "8017": (re.compile(r"[0-9]{18}"), 18),
    "8018": (re.compile(r"[0-9]{18}"), 18),
}
_QUALIFIERS: Final[Mapping[str, re.Pattern[str]]] = {
    "10": re.compile(rf"{_X}{{1,20}}"),
    "21": re.compile(rf"{_X}{{1,20}}"),
    "22": re.compile(rf"{_X}{{1,20}}"),
    "235": re.compile(rf"{_X}{{1,28}}"),
    "254": re.compile(rf"{_X}{{1,20}}"),
    "7040": re.compile(r"[0-9][\-0-9A-Z_a-z]{3}"),
    "8011": re.compile(r"[1-9][0-9]{0,11}"),
    "8019": re.compile(r"[0-9]{1,10}"),
}
# The sequences of qualifiers that a key may have; each of one may be left out.
_SEQUENCES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "01": (("22", "10", "21"), ("235",)),
    "8006": (("22", "10", "21"),),
    "414": (("254",), ("7040",)),
    "417": (("7040",),),
    "8004": (("7040",),),
    "8010": (("8011",),),
    "8017": (("8019",),),
    "8018": (("8019",),),
}
# Names that Digital Links had before 1.3.
_ALIASES: Final[Mapping[str, str]] = {
    "sscc": "00", "gtin": "01", "gdti": "253", "gcn": "255", "ginc": "401", "gsin": "402",
    "gln": "414", "party": "417", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010",
    "gsrnp": "8017", "gsrn": "8018",
}  # fmt: skip
_QUALIFIER_ALIASES: Final[Mapping[str, str]] = {"cpv": "22", "lot": "10", "ser": "21"}
# What the event hash keeps of the qualifiers of a key, the first that is there (CBV 2.0 §8.9.2).
_FINEST: Final[Mapping[str, tuple[str, ...]]] = {
    "01": ("21", "235", "10"),
    "8006": ("21", "10"),
    "414": ("254",),
    "8010": ("8011",),
}

_SHORT_GTIN = re.compile(r"[0-9]{8}|[0-9]{12,13}")
_URI = re.compile(r"https?://[^/?#\s]*(/[^?#\s]*)(?:\?[^#\s]*)?(?:#\S*)?", re.IGNORECASE)
_URN = re.compile(r"urn:epc:(id|class|idpat):([a-z]+):(\S+)")
_SAFE = "';="  # beside the unreserved ones; GS1 Digital Link table 7-1 escapes the others


@dataclass(frozen=True, slots=True)
class Key:
    """A GS1 key with its qualifiers; `pattern` where it names all instances of a class."""

    ai: str
    value: str
    qualifiers: tuple[tuple[str, str], ...] = ()
    pattern: bool = False

    @property
    def path(self) -> str:
        """The canonical path of what it identifies, without a leading slash."""
        kept = dict(self.qualifiers)
        if "21" in kept:
            kept = {"21": kept["21"]}
        return self._path(tuple(kept.items()))

    @property
    def hashed(self) -> str:
        """The URI that stands for it in an event hash."""
        named = dict(self.qualifiers)
        finest = next((ai for ai in _FINEST.get(self.ai, ()) if ai in named), None)
        kept = () if finest is None else ((finest, named[finest]),)
        return f"https://id.gs1.org/{self._path(kept)}"

    @property
    def expected(self) -> str | None:
        """The check digit that belongs where another stands, None where it is right."""
        size = _KEYS[self.ai][1]
        if not size:
            return None
        right = check_digit(self.value[: size - 1])
        return None if right == self.value[size - 1] else right

    def _path(self, qualifiers: Sequence[tuple[str, str]]) -> str:
        pairs = ((self.ai, self.value), *qualifiers)
        return "/".join(f"{ai}/{quote(value, safe=_SAFE)}" for ai, value in pairs)


def check_digit(payload: str) -> str:
    """Return the check digit of digits (modulo 10, weights 3 and 1 from the right)."""
    total = sum(int(digit) * (1 if at % 2 else 3) for at, digit in enumerate(reversed(payload)))
    return str(-total % 10)


def find(uri: str) -> Key | None:
    """Return the GS1 key that a URI names, None where it names none."""
    if uri.startswith("urn:epc:"):
        return _of_urn(uri)
    path = path_of(uri)
    if path is None:
        return None
    segments = path.removesuffix("/").split("/")
    for at in range(max(0, len(segments) - MAX_SEGMENTS), len(segments) - 1):
        key = read_segments(segments[at:])
        if key is not None:
            return key
    return None


def path_of(uri: str) -> str | None:
    """Return the path of an http(s) URI, still escaped, without its slash; None for any other."""
    found = _URI.fullmatch(uri) if len(uri) <= MAX_URI else None
    return None if found is None else found[1][1:]


def names_key(segment: str) -> bool:
    """Tell whether a Digital Link begins with this segment."""
    return segment in _KEYS or segment in _ALIASES


def read_segments(segments: Sequence[str]) -> Key | None:
    """Read `key/value[/qualifier/value]…`, still escaped; None where it is no Digital Link."""
    if len(segments) % 2 or not segments or not names_key(segments[0]):
        return None
    values = [_unquoted(segment) for segment in segments]
    if None in values:
        return None
    texts = [value or "" for value in values]
    ai = _ALIASES.get(texts[0], texts[0])
    value = texts[1].zfill(14) if ai == "01" and _SHORT_GTIN.fullmatch(texts[1]) else texts[1]
    form = _KEYS.get(ai)
    if form is None or not form[0].fullmatch(value):
        return None
    names = [_QUALIFIER_ALIASES.get(name, name) for name in texts[2::2]]
    pairs = tuple(zip(names, texts[3::2], strict=True))
    fits = _in_order(ai, names) and all(_QUALIFIERS[name].fullmatch(text) for name, text in pairs)
    return Key(ai, value, pairs) if fits else None


def _unquoted(segment: str) -> str | None:
    if re.search(r"%(?![0-9A-Fa-f]{2})", segment):
        return None
    raw = unquote_to_bytes(segment)
    return raw.decode() if raw.isascii() else None


def _in_order(ai: str, names: Sequence[str]) -> bool:
    """Tell whether qualifiers are some of one sequence of a key, in its order, each once."""
    for sequence in _SEQUENCES.get(ai, ()):
        left = iter(sequence)
        if all(name in left for name in names):
            return True
    return not names


# EPC URNs. A company prefix has 6 to 12 digits, and with what follows it a fixed number of digits.

_Read: TypeAlias = "Callable[[str, str, tuple[str, ...]], Key]"


def _padded(company: str, reference: str, size: int) -> str:
    """Join a company prefix and a reference to `size` digits and their check digit."""
    digits = company + reference
    if len(digits) != size or not digits.isdigit() or not 6 <= len(company) <= 12:  # noqa: PLR2004
        raise ValueError(digits)
    return digits + check_digit(digits)


def _gtin(company: str, reference: str, size: int = 13) -> str:
    """Move the indicator digit of a reference to the front, and add the check digit."""
    return _padded(company, reference, size) and _checked(reference[:1] + company + reference[1:])


def _checked(digits: str) -> str:
    return digits + check_digit(digits)


def _serial(company: str, reference: str, rest: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    del company, reference
    return (("21", rest[0]),)


_URNS: Final[Mapping[str, tuple[int, _Read]]] = {
    # scheme: (number of parts, what they make)
    "sgtin": (3, lambda c, r, s: Key("01", _gtin(c, r), _serial(c, r, s))),
    "sscc": (2, lambda c, r, _: Key("00", _gtin(c, r, 17))),
    "sgln": (3, lambda c, r, s: Key("414", _padded(c, r, 12), _extension(s[0]))),
    "pgln": (2, lambda c, r, _: Key("417", _padded(c, r, 12))),
    "grai": (3, lambda c, r, s: Key("8003", f"0{_padded(c, r, 12)}{s[0]}")),
    "giai": (2, lambda c, r, _: Key("8004", c + r)),
    "gdti": (3, lambda c, r, s: Key("253", _padded(c, r, 12) + s[0])),
    "gsrn": (2, lambda c, r, _: Key("8018", _padded(c, r, 17))),
    "gsrnp": (2, lambda c, r, _: Key("8017", _padded(c, r, 17))),
    "sgcn": (3, lambda c, r, s: Key("255", _padded(c, r, 12) + s[0])),
    "cpi": (3, lambda c, r, s: Key("8010", c + r, (("8011", s[0]),))),
    "gsin": (2, lambda c, r, _: Key("402", _padded(c, r, 16))),
    "ginc": (2, lambda c, r, _: Key("401", c + r)),
    "itip": (5, lambda c, r, s: Key("8006", _gtin(c, r) + s[0] + s[1], (("21", s[2]),))),
    "upui": (3, lambda c, r, s: Key("01", _gtin(c, r), (("235", s[0]),))),
}
_CLASSES: Final[Mapping[str, tuple[int, _Read]]] = {
    "lgtin": (3, lambda c, r, s: Key("01", _gtin(c, r), (("10", s[0]),))),
}
# What a pattern names when its last part alone is a star.
_PATTERNS: Final[Mapping[str, tuple[int, _Read]]] = {
    "sgtin": (3, lambda c, r, _: Key("01", _gtin(c, r), pattern=True)),
    "grai": (3, lambda c, r, _: Key("8003", f"0{_padded(c, r, 12)}", pattern=True)),
    "gdti": (3, lambda c, r, _: Key("253", _padded(c, r, 12), pattern=True)),
    "sgcn": (3, lambda c, r, _: Key("255", _padded(c, r, 12), pattern=True)),
    "cpi": (3, lambda c, r, _: Key("8010", c + r, pattern=True)),
    "itip": (5, lambda c, r, s: Key("8006", _gtin(c, r) + s[0] + s[1], pattern=True)),
    "upui": (3, lambda c, r, _: Key("01", _gtin(c, r), pattern=True)),
}
_TABLES: Final = {"id": _URNS, "class": _CLASSES, "idpat": _PATTERNS}


def _extension(text: str) -> tuple[tuple[str, str], ...]:
    return () if text == "0" else (("254", text),)


def _of_urn(uri: str) -> Key | None:
    found = _URN.fullmatch(uri) if len(uri) <= MAX_URI else None
    if found is None:
        return None
    table, scheme, text = found.groups()
    entry = _TABLES[table].get(scheme)
    if entry is None:
        return None
    count, read = entry
    parts = [_unquoted(part) for part in text.split(".", count - 1)]
    if len(parts) != count or None in parts or (table == "idpat" and parts.pop() != "*"):
        return None
    company, reference, *rest = (part or "" for part in parts)
    try:
        key = read(company, reference, tuple(rest))
    except ValueError:
        return None
    fits = _KEYS[key.ai][0].fullmatch(key.value) and all(
        _QUALIFIERS[name].fullmatch(value) for name, value in key.qualifiers
    )
    return key if fits else None


def is_pattern(uri: str) -> bool:
    """Tell whether an EPC names many things at once and so identifies none."""
    return uri.startswith(("urn:epc:idpat:", "urn:epc:pat:"))


def verified(key: Key, uri: str) -> Key:
    """Return a key whose check digit is right; raise BadEvent, which tells the right one."""
    expected = key.expected
    if expected is not None:
        size = _KEYS[key.ai][1]
        raise BadEvent(
            f"the check digit of {key.ai}/{key.value} is {key.value[size - 1]}, and {expected}"
            " belongs there",
            value=uri,
            fix="correct it, or capture with check_digits=lenient",
        )
    return key
