r"""Submission: what a log sends a witness (C2SP tlog-witness, add-checkpoint).

    old <size>\n                  of the newest checkpoint that the witness cosigned, 0 for none
    <base64 hash>\n               the consistency proof from there, at most 63 lines
    \n
    <checkpoint note>

The witness answers with its cosignature lines, or with 409 and the size that it holds.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from .checkpoint import MAX_NOTE
from .errors import VerifyError
from .merkle import HASH_BYTES, MAX_PROOF

MAX_SUBMISSION = MAX_NOTE  # bytes
SIZE_TYPE = "text/x.tlog.size"  # media type of the body of a 409

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint note and the proof that its tree extends the one of size `old`."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Read a request body; raise VerifyError E_FORMAT or E_LIMIT. The note stays unread."""
        if len(body) > MAX_SUBMISSION:
            raise VerifyError("E_LIMIT", f"a submission has at most {MAX_SUBMISSION} bytes")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise VerifyError("E_FORMAT", "the submission is not UTF-8") from None
        head, gap, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not gap or old is None:
            raise VerifyError("E_FORMAT", "not `old <size>`, a proof, a blank line")
        if len(lines) > MAX_PROOF:
            raise VerifyError("E_LIMIT", f"a proof has at most {MAX_PROOF} lines")
        return cls(int(old[1]), tuple(_hash(line) for line in lines), note)

    def encode(self) -> bytes:
        """Return the request body."""
        proof = "".join(f"{base64.b64encode(item).decode()}\n" for item in self.proof)
        return f"old {self.old}\n{proof}\n{self.note}".encode()


def encode_size(size: int) -> bytes:
    """Return the body of a 409."""
    return b"%d\n" % size


def parse_size(body: bytes) -> int:
    """Read the body of a 409; raise VerifyError E_FORMAT."""
    found = _SIZE.fullmatch(body)
    if found is None:
        raise VerifyError("E_FORMAT", "not a tree size", value=body[:40])
    return int(found[1])


def _hash(line: str) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != HASH_BYTES or base64.b64encode(raw).decode() != line:
        raise VerifyError("E_FORMAT", "a proof line is not a hash in base64", value=line)
    return raw
