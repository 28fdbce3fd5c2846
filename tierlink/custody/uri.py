"""PKCS#11 URIs (RFC 7512): `pkcs11:token=acme;object=records?pin-source=/run/secrets/pin`.

Understood are the attributes that tell one key from another: `token`, `serial`, `manufacturer`,
`model`, `slot-id`, `object`, `id` and `type=private`; after the question mark `pin-source` and
`module-path`. Any other is refused: a key that is meant by more than we look at is another key.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from schemas.errors import BadInput

SCHEME = "pkcs11:"

_PATH = frozenset({"token", "serial", "manufacturer", "model", "slot-id", "object", "id", "type"})
_QUERY = frozenset({"pin-source", "module-path"})


@dataclass(frozen=True, slots=True)
class KeyUri:
    """A key in a token, by name. None is not said, and fits every token and key."""

    text: str
    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    slot: int | None = None
    label: str | None = None
    key: bytes | None = None  # CKA_ID
    pin_file: str | None = None
    module: str | None = None


def parse(text: str) -> KeyUri:
    """Read a URI; raise BadInput that names the attribute."""
    path, _, query = text.removeprefix(SCHEME).partition("?")
    found = _attributes(path, ";", _PATH, text)
    asked = _attributes(query, "&", _QUERY, text)
    if found.get("type", b"private") != b"private":
        raise _bad(text, "type is not private")
    words = {name: _word(value, name, text) for name, value in found.items() if name != "id"}
    slot = words.get("slot-id")
    if slot is not None and not (slot.isascii() and slot.isdigit()):
        raise _bad(text, "slot-id is not a number")
    pin = asked.get("pin-source")
    module = asked.get("module-path")
    return KeyUri(
        text,
        token=words.get("token"),
        serial=words.get("serial"),
        manufacturer=words.get("manufacturer"),
        model=words.get("model"),
        slot=None if slot is None else int(slot),
        label=words.get("object"),
        key=found.get("id"),
        pin_file=None if pin is None else _file(_word(pin, "pin-source", text), text),
        module=None if module is None else _word(module, "module-path", text),
    )


def _attributes(part: str, separator: str, known: frozenset[str], text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in part.split(separator) if part else ():
        name, equals, value = item.partition("=")
        if name == "pin-value":
            raise BadInput(
                "a PIN does not belong into the name of a key: it is shown in lists of processes",
                fix="set TIERLINK_PKCS11_PIN_FILE, or name a file with pin-source",
            )
        if name not in known or not equals:
            raise _bad(text, f"{name or item!r} is not one of {', '.join(sorted(known))}")
        if name in found:
            raise _bad(text, f"{name} is there twice")
        found[name] = unquote_to_bytes(value)
    return found


def _word(raw: bytes, name: str, text: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _bad(text, f"{name} is not UTF-8") from None


def _file(source: str, text: str) -> str:
    """Return the path of a PIN file, given plainly or as a file: URI (RFC 7512 §2.4)."""
    if source.startswith("|"):
        raise _bad(text, "pin-source is a command, and none is run")
    if not source.startswith("file:"):
        return source
    return urlsplit(source).path


def _bad(text: str, why: str) -> BadInput:
    return BadInput(
        f"not the PKCS#11 URI of a key: {why}",
        value=text,
        fix="such as 'pkcs11:token=acme;object=records' (RFC 7512)",
    )
