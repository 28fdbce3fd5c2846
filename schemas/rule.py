"""Suffix rules: how one class record answers for every serial it covers.

    pattern = *( literal / field )
    field   = "{" name ":" class ":" length "}"
    class   = digits / upper / lower / alpha / alnum / hex / any      ; any = everything but "/"
    length  = n / min "-" max

`PACK-{year:digits:4}-{serial:digits:6}` covers `PACK-2026-000042`. A literal brace is doubled.
A field takes as many characters as it may and never gives one back (possessive matching), so a
match costs time linear in the suffix whatever the owner wrote. The targets of the rule are URI
templates (RFC 6570) over the field names and `identifier`, `prefix`, `suffix`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from . import uritemplate
from .claims import Members, without_empty
from .errors import BadRecord
from .identifier import Identifier
from .target import MAX_HREF, check_href, check_hreflang, check_media_type, check_rel

MAX_PATTERN = 256
MAX_FIELDS = 8
MAX_LENGTH = 256
MAX_HEAD = 64  # characters of the literal head that the registry indexes
RESERVED_NAMES = frozenset({"identifier", "prefix", "suffix"})

_CLASSES = {
    "digits": "[0-9]",
    "upper": "[A-Z]",
    "lower": "[a-z]",
    "alpha": "[A-Za-z]",
    "alnum": "[0-9A-Za-z]",
    "hex": "[0-9A-Fa-f]",
    "any": "[^/]",
}
_FIELD = re.compile(
    r"\{([a-z][a-z0-9_]{0,31}):(digits|upper|lower|alpha|alnum|hex|any):([0-9]{1,3})(?:-([0-9]{1,3}))?\}"
)
_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")


@dataclass(frozen=True, slots=True)
class TargetTemplate:
    """A target whose href is a URI template."""

    rel: str
    template: str
    media_type: str = ""
    title: str = ""
    hreflang: str = ""

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return without_empty(
            {
                "rel": self.rel,
                "template": self.template,
                "type": self.media_type,
                "title": self.title,
                "hreflang": self.hreflang,
            }
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern over suffixes and the targets of what it covers."""

    pattern: str
    targets: tuple[TargetTemplate, ...]

    @property
    def head(self) -> str:
        """The literal text before the first field, at most MAX_HEAD characters."""
        return compile_pattern(self.pattern).head

    def match(self, suffix: str) -> dict[str, str] | None:
        """Return the fields of a covered suffix, None where the rule does not cover it."""
        found = compile_pattern(self.pattern).regex.fullmatch(suffix)
        return found.groupdict() if found else None

    def expand(
        self, identifier: Identifier, fields: dict[str, str]
    ) -> tuple[tuple[TargetTemplate, str], ...]:
        """Return each target template with its expanded href; one that grows too long is left out.

        The suffix and what the owner wrote decide that, so everybody leaves out the same ones.
        """
        values = {
            **fields,
            "identifier": identifier.text,
            "prefix": str(identifier.prefix),
            "suffix": identifier.suffix,
        }
        expanded = (
            (target, uritemplate.expand_within(MAX_HREF, target.template, values))
            for target in self.targets
        )
        return tuple((target, href) for target, href in expanded if href is not None)

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return without_empty(
            {"pattern": self.pattern, "targets": [target.claims() for target in self.targets]}
        )


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern."""

    head: str
    regex: re.Pattern[str]
    fields: frozenset[str]


@lru_cache(maxsize=8192)
def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern; raise BadRecord with the position of what is malformed."""
    if not pattern or len(pattern) > MAX_PATTERN:
        raise BadRecord(f"a pattern has 1 to {MAX_PATTERN} characters", value=pattern)
    pieces: list[str] = []
    fields: list[str] = []
    head = ""
    at = 0
    while at < len(pattern):
        literal = _LITERAL.match(pattern, at)
        if literal:
            text = literal[0].replace("{{", "{").replace("}}", "}")
            if not fields:
                head += text
            pieces.append(re.escape(text))
            at = literal.end()
            continue
        found = _FIELD.match(pattern, at)
        if not found:
            raise BadRecord(
                f"pattern is malformed at position {at}",
                value=pattern,
                position=at,
                fix="a field is {name:class:length}, such as {serial:digits:6}",
            )
        pieces.append(_field(pattern, found, fields))
        at = found.end()
    if not fields:
        raise BadRecord("a pattern needs at least one field", value=pattern)
    return Pattern(head[:MAX_HEAD], re.compile("".join(pieces)), frozenset(fields))


def _field(pattern: str, found: re.Match[str], fields: list[str]) -> str:
    name, char_class = found[1], found[2]
    low = int(found[3])
    high = int(found[4]) if found[4] else low
    if name in fields or name in RESERVED_NAMES:
        raise BadRecord(f"field name {name} is taken", value=pattern, position=found.start())
    if not 1 <= low <= high <= MAX_LENGTH:
        raise BadRecord(
            f"a field length is from 1 to {MAX_LENGTH}", value=pattern, position=found.start()
        )
    fields.append(name)
    if len(fields) > MAX_FIELDS:
        raise BadRecord(f"a pattern has at most {MAX_FIELDS} fields", value=pattern)
    return f"(?P<{name}>{_CLASSES[char_class]}{{{low},{high}}}+)"


def read_rule(members: Members) -> Rule:
    """Read a rule's members; raise BadRecord."""
    pattern = members.text("pattern", MAX_PATTERN)
    compiled = compile_pattern(pattern)
    targets = members.array("targets", 64, lambda item, where: _read_template(members, item, where))
    members.done()
    known = compiled.fields | RESERVED_NAMES
    for target in targets:
        unknown = sorted(uritemplate.names(target.template) - known)
        if unknown:
            raise BadRecord(
                f"template uses {unknown[0]}, which is no field of the pattern",
                value=target.template,
            )
        check_href(members, target.template.partition("{")[0], target.template)
    return Rule(pattern, targets)


def _read_template(outer: Members, item: object, where: str) -> TargetTemplate:
    members = outer.inner(item, where)
    target = TargetTemplate(
        rel=check_rel(members, members.text("rel", 256)),
        template=members.text("template", uritemplate.MAX_TEMPLATE),
        media_type=check_media_type(members, members.maybe_text("type", 128) or ""),
        title=members.maybe_text("title", 256) or "",
        hreflang=check_hreflang(members, members.maybe_text("hreflang", 35) or ""),
    )
    members.done()
    return target
