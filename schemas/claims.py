"""Read the members of a JSON object strictly: right type, in bounds, none missing, none unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from .canonical import MAX_INTEGER, JsonObject
from .errors import BadIdentifier, BadInput
from .identifier import Identifier, Prefix
from .keys import B64

T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class Members:
    """The members of one object, taken one by one; `done` refuses what is left."""

    source: Mapping[str, object]
    error: type[BadInput]
    where: str = ""
    _taken: set[str] = field(default_factory=set)

    def fail(self, name: str, why: str, value: object = None) -> BadInput:
        """Build the error of one member."""
        return self.error(f"{self.where}{name} {why}", value=value)

    def take(self, name: str) -> object:
        """Take a member, None where it is absent; an explicit null is refused."""
        self._taken.add(name)
        value = self.source.get(name)
        if value is None and name in self.source:
            raise self.fail(name, "is null; leave it out instead")
        return value

    def text(self, name: str, limit: int) -> str:
        """Take a required string of 1 to `limit` characters."""
        found = self.maybe_text(name, limit)
        if found is None:
            raise self.fail(name, "is missing")
        return found

    def maybe_text(self, name: str, limit: int) -> str | None:
        """Take an optional string of 1 to `limit` characters, none of them a control character."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            raise self.fail(name, "is not a non-empty string", value)
        if len(value) > limit:
            raise self.fail(name, f"has {len(value)} characters, the limit is {limit}", value)
        if _CONTROL.search(value):
            raise self.fail(name, "holds a control character", value)
        return value

    def identifier(self, name: str) -> Identifier:
        """Take a required identifier; a malformed one is a BadIdentifier with its position."""
        found = self.maybe_identifier(name)
        if found is None:
            raise self.fail(name, "is missing")
        return found

    def maybe_identifier(self, name: str) -> Identifier | None:
        """Take an optional identifier."""
        return self._parsed(name, Identifier.parse)

    def prefix(self, name: str) -> Prefix:
        """Take a required prefix; a malformed one is a BadIdentifier with its position."""
        found = self._parsed(name, Prefix.parse)
        if found is None:
            raise self.fail(name, "is missing")
        return found

    def _parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.fail(name, "is not a string", value)
        try:
            return parse(value)
        except BadIdentifier as err:
            raise BadIdentifier(
                f"{self.where}{name}: {err.detail}", value=value, position=err.position, fix=err.fix
            ) from None

    def integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Take a required integer in [low, high]."""
        found = self.maybe_integer(name, low, high)
        if found is None:
            raise self.fail(name, "is missing")
        return found

    def maybe_integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int | None:
        """Take an optional integer in [low, high]."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self.fail(name, f"is not an integer from {low} to {high}", value)
        return value

    def choice(self, name: str, allowed: frozenset[str], default: str | None = None) -> str:
        """Take one word of a closed set."""
        value = self.take(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or value not in allowed:
            raise self.fail(name, f"is not one of {', '.join(sorted(allowed))}", value)
        return value

    def prev(self, version: int) -> B64 | None:
        """Take `prev`, the digest of the version before: the first version has none."""
        prev = self.maybe_text("prev", 43)
        if (version == 1) != (prev is None):
            raise self.fail("prev", "belongs to every version but the first", prev)
        return B64(prev) if prev else None

    def array(self, name: str, limit: int, read: Callable[[object, str], T]) -> tuple[T, ...]:
        """Take an optional array of at most `limit` items, each read by `read(item, where)`."""
        value = self.take(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.fail(name, "is not an array", value)
        if len(value) > limit:
            raise self.fail(name, f"has {len(value)} items, the limit is {limit}")
        return tuple(
            read(item, f"{self.where}{name}[{index}].") for index, item in enumerate(value)
        )

    def maybe_object(self, name: str) -> JsonObject | None:
        """Take an optional object."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise self.fail(name, "is not an object", value)
        return value

    def inner(self, value: object, where: str) -> Members:
        """Open a nested object under the same error."""
        if not isinstance(value, dict):
            raise self.error(f"{where.rstrip('.')} is not an object", value=value)
        return Members(value, self.error, where)

    def done(self) -> None:
        """Refuse members nobody took: the formats are closed."""
        if self._taken.issuperset(self.source):
            return
        extra = sorted(set(self.source) - self._taken)
        raise self.error(
            f"{self.where or 'the object '}has unknown members: {', '.join(extra)}",
            value=extra[0],
        )


def without_empty(members: Mapping[str, object]) -> dict[str, object]:
    """Drop absent members: None, and empty text, arrays and objects."""
    return {
        name: value
        for name, value in members.items()
        if not (value is None or value in ("", [], {}, ()))
    }
