r"""Checkpoints: the signed head of a log (C2SP tlog-checkpoint, signed-note), and cosignatures.

    <origin>\n<size>\n<base64 root>\n                          the body, ending in a newline
    \n
    — <name> <base64(key id ‖ signature)>\n                   one line a signature

A key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key). Type 0x01 signs the
body; type 0x04, a witness, signs `cosignature/v1\ntime <t>\n<body>` and prefixes the signature
with its time as eight bytes. Unknown keys are ignored; a failing signature of a known key
rejects the whole note. All keys here are Ed25519, as the formats demand.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import VerifyError
from .keys import PublicKey, Signer, b64decode, b64encode, sha256
from .merkle import HASH_BYTES

SIGNED_NOTE, COSIGNATURE = 0x01, 0x04
MAX_NOTE = 64 * 1024
MAX_SIGNATURES = 64
CLOCK_SKEW = 300  # seconds that a witness's clock may be ahead of ours
_KEY_ID_BYTES = 4
_TIME_BYTES = 8

_NAME = re.compile(r"[!-*,-~]+")  # no space, no plus
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([^ \n]+) ([A-Za-z0-9+/]+={0,2})")
_BODY = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f]*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A named verification key: the log's own (SIGNED_NOTE) or a witness's (COSIGNATURE)."""

    name: str
    kind: int
    key: PublicKey

    @classmethod
    def parse(cls, vkey: str) -> NoteKey:
        """Read `name+hex key id+base64(type ‖ public key)`; raise VerifyError E_KEY."""
        name, _, rest = vkey.partition("+")
        hexid, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise VerifyError("E_KEY", "not a note verification key", value=vkey) from None
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[0] not in (SIGNED_NOTE, COSIGNATURE):  # noqa: PLR2004
            raise VerifyError("E_KEY", "not a note verification key", value=vkey)
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": str(b64encode(raw[1:]))}
        found = cls(name, raw[0], PublicKey.from_jwk(jwk))
        if found.key_id.hex() != hexid:
            raise VerifyError("E_KEY", "the key id is not that of the key", value=vkey)
        return found

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the public key."""
        return b64decode(self.key.jwk["x"])

    @property
    def key_id(self) -> bytes:
        """The four bytes that begin each of its signatures."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.raw)[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The text form that configuration files and policies carry."""
        encoded = base64.b64encode(bytes([self.kind]) + self.raw).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: whose, how large, which root."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> str:
        """The signed text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, body: str) -> Checkpoint:
        """Read the body of a note; raise VerifyError E_CHECKPOINT. Extension lines are refused."""
        lines = body.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:  # noqa: PLR2004  (three lines, each ended)
            raise VerifyError("E_CHECKPOINT", "a checkpoint is origin, size and root")
        if not _SIZE.fullmatch(lines[1]):
            raise VerifyError("E_CHECKPOINT", "the size is not a plain number", value=lines[1])
        root = _base64(lines[2])
        if len(root) != HASH_BYTES:
            raise VerifyError("E_CHECKPOINT", f"the root has {len(root)} bytes")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's word that it saw a checkpoint, and when."""

    name: str
    time: int


def sign_note(checkpoint: Checkpoint, name: str, signer: Signer) -> str:
    """Return the checkpoint as a note signed by the log."""
    key = NoteKey(name, SIGNED_NOTE, signer.public)
    signature = signer.sign(checkpoint.body.encode())
    return f"{checkpoint.body}\n{_line(name, key.key_id + signature)}"


def cosign(body: str, name: str, signer: Signer, time: int) -> str:
    """Return a witness's signature line over a checkpoint body."""
    key = NoteKey(name, COSIGNATURE, signer.public)
    stamp = time.to_bytes(_TIME_BYTES, "big")
    return _line(name, key.key_id + stamp + signer.sign(_cosigned(body, time)))


def _cosigned(body: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{body}".encode()


def _line(name: str, blob: bytes) -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


def split_note(note: str) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    """Split a note into its body and (name, blob) signatures; raise VerifyError E_CHECKPOINT."""
    if len(note) > MAX_NOTE:
        raise VerifyError("E_LIMIT", f"a note has at most {MAX_NOTE} characters")
    body, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or not _BODY.fullmatch(note):
        raise VerifyError("E_CHECKPOINT", "not a signed note")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise VerifyError("E_LIMIT", f"a note has at most {MAX_SIGNATURES} signatures")
    signatures = []
    for line in lines:
        found = _SIGNATURE_LINE.fullmatch(line)
        if not found:
            raise VerifyError("E_CHECKPOINT", "a signature line is malformed", value=line)
        blob = _base64(found[2])
        if len(blob) <= _KEY_ID_BYTES:
            raise VerifyError("E_CHECKPOINT", "a signature is too short", value=line)
        signatures.append((found[1], blob))
    return body + "\n", tuple(signatures)


def verify_note(
    note: str, log: NoteKey, witnesses: Sequence[NoteKey] = ()
) -> tuple[Checkpoint, tuple[Cosignature, ...]]:
    """Verify a checkpoint note; return it with the cosignatures of the known witnesses.

    The log must have signed. Raises E_CHECKPOINT, E_ORIGIN or E_LIMIT. One key counts once,
    whatever names it goes by. Whether the cosignatures suffice is for `quorum` to say.
    """
    body, signatures = split_note(note)
    checkpoint = Checkpoint.parse(body)
    if checkpoint.origin != log.name:
        raise VerifyError("E_ORIGIN", "a checkpoint of another log", value=checkpoint.origin)
    known = {(item.name, item.key_id): item for item in (log, *witnesses)}
    signed = False
    seen: dict[str, Cosignature] = {}
    for name, blob in signatures:
        key = known.get((name, blob[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if key.kind == SIGNED_NOTE:
            _check(key, blob[_KEY_ID_BYTES:], body.encode())
            signed = signed or key == log
        else:
            time = int.from_bytes(blob[_KEY_ID_BYTES : _KEY_ID_BYTES + _TIME_BYTES], "big")
            _check(key, blob[_KEY_ID_BYTES + _TIME_BYTES :], _cosigned(body, time))
            seen.setdefault(key.key.kid, Cosignature(name, time))
    if not signed:
        raise VerifyError("E_CHECKPOINT", f"{log.name} did not sign the checkpoint")
    return checkpoint, tuple(seen.values())


def _check(key: NoteKey, signature: bytes, message: bytes) -> None:
    if not key.key.verifies(signature, message):
        raise VerifyError("E_CHECKPOINT", f"the signature of {key.name} does not verify")


def quorum(
    cosignatures: Iterable[Cosignature], needed: int, now: int, max_age: int | None = None
) -> int:
    """Return the time by which `needed` witnesses had seen the checkpoint.

    Raises E_QUORUM where fewer did, E_FRESH where one is of the future or all are too old.
    The needed-th earliest time counts, so that one dishonest witness cannot backdate.
    """
    times = sorted(item.time for item in cosignatures)
    check_quorum(times, needed)
    if times and times[-1] > now + CLOCK_SKEW:
        raise VerifyError("E_FRESH", "a cosignature is from the future", value=times[-1])
    if max_age is not None and times and times[-1] < now - max_age:
        raise VerifyError("E_FRESH", "the newest cosignature is too old", value=times[-1])
    return times[needed - 1] if needed else now


def check_quorum(times: Sequence[int], needed: int) -> None:
    """Raise VerifyError E_QUORUM where fewer witnesses cosigned than are needed."""
    if len(times) < needed:
        raise VerifyError("E_QUORUM", f"{len(times)} witnesses cosigned, {needed} are needed")


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise VerifyError("E_CHECKPOINT", "not base64", value=text) from None
    if base64.b64encode(raw).decode() != text:
        raise VerifyError("E_CHECKPOINT", "not canonical base64", value=text)
    return raw
