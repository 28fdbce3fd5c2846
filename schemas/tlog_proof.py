"""Proof files of a log's entry, as other tools of transparency logs read them (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra <base64>                      optional; here the entry itself, the bytes that were hashed
    index <number>
    <base64 hash>                       of the inclusion proof, leaf-most first, a line each
                                        (an empty line)
    <checkpoint note>                   with the cosignatures of witnesses

A file says that an entry is in the log, and nothing of whether a newer one is: that is what a
bundle says (`schemas.proof`). Codes: E_FORMAT for another form, else those of the steps.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from .canonical import JsonObject
from .checkpoint import MAX_NOTE, Checkpoint, quorum, verify_note
from .errors import VerifyError
from .evidence import LogProof
from .leaf import MAX_LEAF, Leaf, What, commitment
from .merkle import MAX_PROOF, leaf_hash, verify_inclusion
from .policy import LogPolicy
from .record import parse_record

HEAD = "c2sp.org/tlog-proof@v1"
MAX_FILE = MAX_NOTE + 4 * MAX_LEAF + 64 * MAX_PROOF

_FORM = re.compile(
    r"c2sp\.org/tlog-proof@v1\n"
    r"(?:extra ([A-Za-z0-9+/]+={0,2})\n)?"
    r"index (0|[1-9][0-9]{0,18})\n"
    r"((?:[A-Za-z0-9+/]{43}=\n)*)"
    r"\n(.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An entry's place in a log: `entry` is None where the file does not carry it."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    entry: bytes | None = None

    def encode(self) -> str:
        """Return the text of the file."""
        extra = "" if self.entry is None else f"extra {_base64(self.entry)}\n"
        hashes = "".join(f"{_base64(item)}\n" for item in self.path)
        return f"{HEAD}\n{extra}index {self.index}\n{hashes}\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read the text of a file; raise VerifyError E_FORMAT or E_LIMIT."""
        if len(text) > MAX_FILE:
            raise VerifyError("E_LIMIT", f"a proof file has at most {MAX_FILE} characters")
        found = _FORM.fullmatch(text)
        if found is None:
            raise VerifyError("E_FORMAT", f"not a proof file of the form {HEAD}")
        extra, index, hashes, checkpoint = found.groups()
        path = tuple(_bytes(line) for line in hashes.split())
        if len(path) > MAX_PROOF:
            raise VerifyError("E_LIMIT", f"a proof has at most {MAX_PROOF} hashes")
        return cls(int(index), path, checkpoint, None if extra is None else _bytes(extra))

    def verify(self, policy: LogPolicy, now: int, entry: bytes | None = None) -> Checkpoint:
        """Verify that the entry, given or carried, is in the log; return the checkpoint.

        Raise VerifyError: E_CHECKPOINT, E_ORIGIN, E_QUORUM, E_FRESH of the note, E_INCLUSION of
        the path, E_FORMAT where there is no entry.
        """
        said = self.entry if entry is None else entry
        if said is None:
            raise VerifyError("E_FORMAT", "the file carries no entry, and none was given")
        checkpoint, cosignatures = verify_note(self.checkpoint, policy.log, policy.witnesses)
        quorum(cosignatures, policy.quorum, now)
        root, size = checkpoint.root, checkpoint.size
        verify_inclusion(leaf_hash(said), self.index, size, self.path, root)
        return checkpoint


def of_bundle(document: JsonObject) -> TlogProof:
    """Return the proof file of the record that answers in a bundle; raise VerifyError.

    The bundle is taken as it is: verify it first.
    """
    proof = document.get("proof")
    log = LogProof.from_json(proof.get("log") if isinstance(proof, dict) else None)
    if not log.entries:
        raise VerifyError("E_FORMAT", "the bundle is of no record, so there is no entry to prove")
    envelope, record = parse_record(document.get("envelope"))
    about = commitment(log.salt, record.identifier.text)
    prefix = record.identifier.prefix
    leaf = Leaf(What.RECORD, prefix, about, record.version, envelope.digest)
    place = log.entries[0]
    return TlogProof(place.index, place.path, log.checkpoint, leaf.entry)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise VerifyError("E_FORMAT", "not base64", value=text) from None
    if _base64(raw) != text:
        raise VerifyError("E_FORMAT", "not canonical base64", value=text)
    return raw
