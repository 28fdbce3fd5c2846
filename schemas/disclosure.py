"""Disclosures: what a record signs without showing it (RFC 9901, SHA-256).

    attribute   base64url of the canonical JSON of [salt, name, value]
    target      base64url of the canonical JSON of [salt, value]

A record holds the SHA-256 of a disclosure's text; whoever is shown the disclosure can check that
the holder signed it, and the signature and the leaf in the log are the same for everybody. Codes:
E_DISCLOSURE for one that fits no digest, fits twice, takes a name that is taken or reserved, or
has too short a salt.

Who may see what is not part of the signed record: its holder tells the registry, which keeps it.
An audience is `public`, `partner` (whoever has a standing link with the identifier, at either
end) or the prefix of an organisation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from . import canonical
from .canonical import Json
from .claims import Members
from .errors import BadRecord, VerifyError
from .identifier import Prefix
from .keys import B64, b64decode, b64encode, sha256
from .record import ELLIPSIS, MAX_ATTRIBUTES, SD, Record
from .target import Target, read_target

SALT_BYTES = 16  # 128 bits
MAX_DISCLOSURE = 16 * 1024  # characters
MAX_DISCLOSURES = 2 * MAX_ATTRIBUTES  # of one record
MAX_AUDIENCE = 16
PUBLIC, PARTNER = "public", "partner"

_OF_TARGET, _OF_ATTRIBUTE = 2, 3  # elements


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One opened attribute, or one opened target (`name` None)."""

    text: B64
    name: str | None
    value: Json

    @property
    def digest(self) -> B64:
        """What the record holds in its place: SHA-256 over the ASCII text, base64url."""
        return b64encode(sha256(self.text.encode()))


def hide_attribute(name: str, value: Json, salt: bytes) -> Disclosure:
    """Make the disclosure of an attribute; `salt` has at least 16 random bytes."""
    if name in {SD, ELLIPSIS}:
        raise VerifyError("E_DISCLOSURE", "an attribute may not have a reserved name", value=name)
    return Disclosure(_text([_salt(salt), name, value]), name, value)


def hide_target(target: Target, salt: bytes) -> Disclosure:
    """Make the disclosure of a target; `salt` has at least 16 random bytes."""
    value: Json = dict(target.claims())  # type: ignore[arg-type]
    return Disclosure(_text([_salt(salt), value]), None, value)


def _salt(salt: bytes) -> str:
    if len(salt) < SALT_BYTES:
        raise VerifyError("E_DISCLOSURE", f"a salt has at least {SALT_BYTES} bytes")
    return b64encode(salt)


def _text(elements: list[Json]) -> B64:
    text = b64encode(canonical.encode(elements))
    if len(text) > MAX_DISCLOSURE:
        raise VerifyError("E_LIMIT", f"a disclosure has at most {MAX_DISCLOSURE} characters")
    return text


def parse_disclosure(text: object) -> Disclosure:
    """Read a disclosure strictly; raise VerifyError E_DISCLOSURE, or a narrower code of parsing."""
    if not isinstance(text, str):
        raise VerifyError("E_DISCLOSURE", "a disclosure is text")
    if len(text) > MAX_DISCLOSURE:
        raise VerifyError("E_LIMIT", f"a disclosure has at most {MAX_DISCLOSURE} characters")
    raw = b64decode(text)
    elements = canonical.decode(raw)
    if not isinstance(elements, list) or len(elements) not in (_OF_TARGET, _OF_ATTRIBUTE):
        raise VerifyError("E_DISCLOSURE", "a disclosure is [salt, name, value] or [salt, value]")
    if canonical.encode(elements) != raw:
        raise VerifyError("E_CANON", "a disclosure is not in canonical form")
    _check_salt(elements[0])
    if len(elements) == _OF_TARGET:
        return Disclosure(B64(text), None, elements[1])
    name = elements[1]
    if not isinstance(name, str) or name in {"", SD, ELLIPSIS}:
        raise VerifyError("E_DISCLOSURE", "a disclosure names no attribute", value=name)
    return Disclosure(B64(text), name, elements[2])


def _check_salt(salt: object) -> None:
    if not isinstance(salt, str) or len(b64decode(salt)) < SALT_BYTES:
        raise VerifyError("E_DISCLOSURE", f"a salt has under {SALT_BYTES} bytes")


def hide(record: Record, disclosures: Iterable[Disclosure]) -> Record:
    """Return the record with the digests of these disclosures, as it is to be signed."""
    opened = list(disclosures)
    attributes = [item.digest for item in opened if item.name is not None]
    targets = [item.digest for item in opened if item.name is None]
    return replace(
        record,
        hidden_attributes=tuple(sorted({*record.hidden_attributes, *attributes})),
        hidden_targets=tuple(sorted({*record.hidden_targets, *targets})),
    )


def reveal(record: Record, disclosures: Iterable[Disclosure]) -> Record:
    """Return the record with these attributes and targets in place of their digests.

    Raise VerifyError E_DISCLOSURE where one is not this record's, or opens what is open already.
    """
    attributes: dict[str, object] = dict(record.attributes)
    targets = list(record.targets)
    hidden_attributes, hidden_targets = set(record.hidden_attributes), set(record.hidden_targets)
    for item in disclosures:
        hidden = hidden_targets if item.name is None else hidden_attributes
        if item.digest not in hidden:
            raise VerifyError(
                "E_DISCLOSURE",
                "a disclosure fits no digest of the record, or is there twice",
                value=item.name,
            )
        hidden.remove(item.digest)
        if item.name is None:
            targets.append(_target(item.value))
        elif item.name in attributes:
            raise VerifyError(
                "E_DISCLOSURE", "a disclosure shadows another attribute", value=item.name
            )
        else:
            attributes[item.name] = item.value
    return replace(
        record,
        attributes=attributes,
        targets=tuple(targets),
        hidden_attributes=tuple(sorted(hidden_attributes)),
        hidden_targets=tuple(sorted(hidden_targets)),
    )


def _target(value: Json) -> Target:
    try:
        return read_target(Members({}, BadRecord), value, "disclosure.")
    except BadRecord as err:
        raise VerifyError("E_DISCLOSURE", err.detail, value=err.value) from None


def reveal_all(records: Sequence[Record], texts: Sequence[object]) -> tuple[Record, ...]:
    """Open disclosures wherever among the records of an answer they fit; raise VerifyError."""
    if len(texts) > MAX_DISCLOSURES * len(records):
        raise VerifyError("E_LIMIT", f"{len(texts)} disclosures in one answer")
    places = _places(records)
    chosen: dict[int, list[Disclosure]] = {}
    for text in texts:
        item = parse_disclosure(text)
        at = places.get(item.digest)
        if at is None:
            raise VerifyError("E_DISCLOSURE", "a disclosure fits no digest of the answer's records")
        chosen.setdefault(at, []).append(item)
    return tuple(
        reveal(record, chosen[at]) if at in chosen else record for at, record in enumerate(records)
    )


def _places(records: Sequence[Record]) -> Mapping[B64, int]:
    places: dict[B64, int] = {}
    for at, record in enumerate(records):
        for digest in (*record.hidden_attributes, *record.hidden_targets):
            if digest in places:
                raise VerifyError("E_DISCLOSURE", "two records hold one digest")
            places[digest] = at
    return places


def withheld(records: Iterable[Record]) -> int:
    """Count what these records hide and nobody opened."""
    return sum(len(record.hidden_attributes) + len(record.hidden_targets) for record in records)


# Who may see what: read from what a holder sends, kept by the registry, applied by the resolver


@dataclass(frozen=True, slots=True)
class Marked:
    """A disclosure and who may see it: words as in the head of this module."""

    disclosure: Disclosure
    audience: tuple[str, ...]

    def shown_to(self, words: Collection[str]) -> bool:
        """Tell whether somebody to whom these words apply may see it."""
        return any(word in words for word in self.audience)


def read_marked(outer: Members, item: object, where: str) -> Marked:
    """Read `{disclosure, audience}`, as sent beside an envelope; raise BadInput or VerifyError."""
    members = outer.inner(item, where)
    disclosure = parse_disclosure(members.take("disclosure"))
    audience = _audience(members)
    members.done()
    return Marked(disclosure, audience)


def read_hidden(
    outer: Members, item: object, where: str, salt: Callable[[bytes], bytes]
) -> tuple[Marked, ...]:
    """Read `{audience, attributes?, targets?}` of a draft; `salt` makes one for each content."""
    members = outer.inner(item, where)
    audience = _audience(members)
    attributes = members.maybe_object("attributes") or {}
    targets = members.array(
        "targets", MAX_ATTRIBUTES, lambda entry, at: read_target(members, entry, at)
    )
    members.done()
    made = [
        hide_attribute(name, value, salt(canonical.encode([name, value])))
        for name, value in attributes.items()
    ]
    made += [hide_target(target, salt(canonical.encode(target.claims()))) for target in targets]
    return tuple(Marked(disclosure, audience) for disclosure in made)


def _audience(members: Members) -> tuple[str, ...]:
    words = members.array("audience", MAX_AUDIENCE, lambda item, where: _word(members, item, where))
    if not words:
        raise members.fail("audience", "names nobody")
    return tuple(sorted(set(words)))


def _word(members: Members, item: object, where: str) -> str:
    if item in (PUBLIC, PARTNER):
        return str(item)
    if not isinstance(item, str):
        raise members.fail(where, "is not public, partner or a prefix", item)
    return str(Prefix.parse(item))
