"""Whose checkpoints a verifier accepts: the log, the witnesses, how many of them, how old.

Members of trust.json, absent where the node keeps no log:

    log        {"origin": name, "vkey": "name+hex id+base64"}           C2SP signed-note
    witnesses  ["name+hex id+base64", …]    cosignature keys (type 0x04)
    quorum     how many of the witnesses must have cosigned a checkpoint; 0 asks none
    max_age    seconds after which the newest cosigned checkpoint proves nothing current
"""

from __future__ import annotations

from dataclasses import dataclass

from .canonical import Json, JsonObject
from .checkpoint import COSIGNATURE, SIGNED_NOTE, NoteKey
from .errors import VerifyError

MAX_WITNESSES = 64
MAX_VKEY = 512


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What has to be true of a checkpoint."""

    log: NoteKey
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0
    max_age: int | None = None

    @classmethod
    def parse(cls, document: JsonObject) -> LogPolicy | None:
        """Read the members of a trust bundle, None where it names no log; raise E_FORMAT, E_KEY."""
        log = document.get("log")
        if log is None:
            return None
        if not isinstance(log, dict) or set(log) != {"origin", "vkey"}:
            raise VerifyError("E_FORMAT", "log of the trust bundle is not {origin, vkey}")
        key = _vkey(log["vkey"], SIGNED_NOTE)
        if key.name != log["origin"]:
            raise VerifyError("E_ORIGIN", "the log's key has another name than its origin")
        witnesses = document.get("witnesses", [])
        if not isinstance(witnesses, list) or len(witnesses) > MAX_WITNESSES:
            raise VerifyError("E_FORMAT", "witnesses of the trust bundle is not a short array")
        keys = tuple(_vkey(item, COSIGNATURE) for item in witnesses)
        if len({item.key.kid for item in keys}) != len(keys):
            raise VerifyError("E_FORMAT", "two witnesses of the trust bundle share one key")
        quorum, max_age = document.get("quorum", 0), document.get("max_age")
        if type(quorum) is not int or not 0 <= quorum <= len(keys):
            raise VerifyError("E_FORMAT", "quorum is not a number of the witnesses", value=quorum)
        if max_age is not None and (type(max_age) is not int or max_age < 1):
            raise VerifyError("E_FORMAT", "max_age is not a number of seconds", value=max_age)
        return cls(key, keys, quorum, max_age)

    def members(self) -> JsonObject:
        """Return the members of trust.json."""
        witnesses: list[Json] = [item.vkey for item in self.witnesses]
        found: JsonObject = {
            "log": {"origin": self.log.name, "vkey": self.log.vkey},
            "witnesses": witnesses,
            "quorum": self.quorum,
        }
        if self.max_age is not None:
            found["max_age"] = self.max_age
        return found


def _vkey(value: object, kind: int) -> NoteKey:
    if not isinstance(value, str) or len(value) > MAX_VKEY:
        raise VerifyError("E_KEY", "not a note verification key")
    key = NoteKey.parse(value)
    if key.kind != kind:
        raise VerifyError("E_KEY", "a note key of the wrong type", value=key.name)
    return key
