"""JSON read and written again with every number as it stood, for hashes over foreign documents.

Such hashes are over a compact writing of a value: no white space, members in the order of the
document, strings with the fewest escapes, UTF-8. Numbers are the trap, because writers differ:
`-1.7976931348623157E308` becomes `-1.7976931348623157e+308` in a parser and printer of doubles.
Here a number is never parsed; it stays the text that it was.

A member stated twice in one object is refused: readers differ on which of the two they take.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.errors import BadInput


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as the document writes it."""

    text: str


def decode(text: str | bytes) -> dict[str, object]:
    """Parse an object, its numbers as Literal; raise BadInput with the position."""
    try:
        document = json.loads(
            text,
            parse_float=Literal,
            parse_int=Literal,
            parse_constant=_no_number,
            object_pairs_hook=_members,
        )
    except json.JSONDecodeError as err:
        raise BadInput(
            f"not JSON: {err.msg} at line {err.lineno}, column {err.colno}", position=err.pos
        ) from err
    except (ValueError, RecursionError) as err:
        raise BadInput(f"not JSON: {err}") from err
    if not isinstance(document, dict):
        raise BadInput("$ is not an object")
    return document


def encode(value: object) -> bytes:
    """Write a decoded value compactly; raise BadInput on text that has no UTF-8."""
    try:
        return "".join(_tokens(value)).encode()
    except UnicodeEncodeError as err:
        raise BadInput(
            "holds half a surrogate pair, which has no UTF-8", value=err.object[err.start]
        ) from err


def _tokens(value: object) -> Iterator[str]:
    # A stack of its own: a document may be nested deeper than calls may.
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Literal):
            yield item.text
        elif isinstance(item, dict):
            yield "{"
            pending.append(Literal("}"))
            for index, (name, member) in reversed([*enumerate(item.items())]):
                pending += member, Literal(f"{',' if index else ''}{_written(name)}:")
        elif isinstance(item, list):
            yield "["
            pending.append(Literal("]"))
            for index, element in reversed([*enumerate(item)]):
                pending += element, Literal("," if index else "")
        else:
            yield _written(item)


def _written(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise BadInput(
            f"not JSON that all read alike: an object states {twice[:100]!r} twice",
            value=twice,
            fix="write each member once",
        )
    return members


def _no_number(text: str) -> object:
    raise BadInput(f"not JSON: {text} is no number of JSON", value=text)
