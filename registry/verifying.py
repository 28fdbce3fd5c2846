"""Reading and verifying lines in a process of its own: bytes in, compact results out.

    python -m registry.verifying        frames on standard input, answered on standard output

A frame is 8 bytes of length and a value in the interpreter's own `marshal` form: both ends are
one installation, and nobody else writes to the pipe. The process holds no key that signs and no
connection; it ends when its input does. What it cannot judge alone, such as a draft, which needs
the hosted key, is returned unread.

Nearly every line is `{"envelope": "…"}` and good. Such a line is read without the reader of JSON,
and whether its batch statement may speak is asked once for each statement, time and kind. Whatever
is not good, or of another form, is read anew from the beginning, so that both ways say the same.
"""

from __future__ import annotations

import marshal
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO, NamedTuple, TypeAlias

from registry.offers import check_envelope, not_held, read_line, read_offer
from schemas.chain import Chain, validate
from schemas.delegation import parse_root
from schemas.envelope import Envelope
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.record import Record, parse_record

LENGTH = 8  # bytes before each frame, big-endian


class Job(NamedTuple):
    """Lines that one holder sends."""

    prefix: str
    root: str  # the chain: the root's envelope, and those of the delegations below
    delegations: tuple[str, ...]
    places: tuple[tuple[str, int], ...]  # of delegations in the log, by prefix
    now: int
    lines: Sequence[bytes]

    @classmethod
    def of(cls, prefix: Prefix, chain: Chain, now: int, lines: Sequence[bytes]) -> Job | None:
        """Return the job, None where the chain has no such form."""
        root = chain.delegations[0].envelope
        if root is None:
            return None
        places = tuple((str(place), index) for place, index in chain.indices.items())
        return cls(str(prefix), root.token, chain.tokens, places, now, lines)


class Signed(NamedTuple):
    """A line that holds a record which its holder signed, verified; the first as it is stored."""

    identifier: str
    version: int
    kind: str
    status: str
    parent: str | None
    issued_at: int
    digest: str
    envelope: str


class Refused(NamedTuple):
    """A line that is refused: the members of the problem document."""

    identifier: str | None
    problem: Mapping[str, object]


Verdict: TypeAlias = "Signed | Refused | None"  # None: to be read by whoever asked

_Raw: TypeAlias = "tuple[object, ...] | None"

# How clients write a line; the second as they do who save a byte.
_HEADS = (b'{"envelope": "', b'{"envelope":"')
_TAIL = b'"}'


def verify(job: Job) -> list[Verdict]:
    """Read and verify lines."""
    judge = _Judge(job)
    return [judge.verdict(line) for line in job.lines]


@lru_cache(maxsize=16)
def _chain(
    root: str, delegations: tuple[str, ...], places: tuple[tuple[str, int], ...], prefix: str
) -> Chain:
    found = validate(Chain((parse_root(root)[1],)), delegations, Prefix.parse(prefix))
    return found.logged({Prefix.parse(place): index for place, index in places})


class _Unread(Exception):
    """No fault: needs what this process does not have."""


class _Judge:
    """Judges the lines of one job."""

    def __init__(self, job: Job) -> None:
        self._chain = _chain(job.root, job.delegations, job.places, job.prefix)
        self._prefix = Prefix.parse(job.prefix)
        self._now = job.now
        self._spoken: set[tuple[str, int, str]] = set()  # (statement, issued at, kind) that hold

    def verdict(self, line: bytes) -> Verdict:
        token = _token(line)
        if token is not None:
            try:
                envelope, record = parse_record(token)
                if record.identifier.prefix == self._prefix:
                    self._check(record, envelope)
                    return signed_row(record, envelope)
            except TierlinkError:
                pass  # said below, as of any line
        return self._read(line)

    def _check(self, record: Record, envelope: Envelope) -> None:
        """Check that a record of our prefix holds; raise VerifyError.

        The records of a batch statement are under its signature, and the path to its root was
        followed when they were read: what is left to ask depends on these three alone.
        """
        if envelope.statement is None:
            check_envelope(self._chain, record, envelope, self._now)
            return
        said = (envelope.statement.token, record.issued_at, record.kind)
        if said not in self._spoken:
            check_envelope(self._chain, record, envelope, self._now)
            self._spoken.add(said)

    def _read(self, line: bytes) -> Verdict:
        """Read a line of any form; say what is wrong with it."""
        about = None
        try:
            body = read_line(line)
            if "envelope" not in body or "disclosures" in body:
                return None
            offer = read_offer(body, self._now, _no_salt)
            record, envelope = offer.record, offer.envelope
            assert envelope is not None
            about = record.identifier.text
            if record.identifier.prefix != self._prefix:
                raise not_held(self._prefix, record.identifier.prefix)
            check_envelope(self._chain, record, envelope, self._now)
        except TierlinkError as err:
            return Refused(about, err.problem()) if err.status < 500 else None  # noqa: PLR2004  (HTTP's own line)
        except _Unread:
            return None
        return signed_row(record, envelope)


def _token(line: bytes) -> str | None:
    """Return what stands for the envelope in a line of the usual form, None in any other.

    What is no JSON string is no envelope: a quotation mark or a control character is in none.
    """
    for head in _HEADS:
        if line.startswith(head) and line.endswith(_TAIL) and line.isascii() and b"\\" not in line:
            return line[len(head) : -len(_TAIL)].decode()
    return None


def _envelope(line: bytes) -> str:
    """Return the envelope in a line that was found good."""
    return _token(line) or str(read_line(line)["envelope"])


def signed_row(record: Record, envelope: Envelope) -> Signed:
    """Return a verified record as it is stored."""
    return Signed(
        record.identifier.text,
        record.version,
        record.kind,
        record.status,
        record.parent.text if record.parent else None,
        record.issued_at,
        envelope.digest,
        envelope.token,
    )


def _no_salt(_content: bytes) -> bytes:
    raise _Unread


def pack(job: Job) -> bytes:
    """Return the frame of a job."""
    return _frame(tuple(job))


def unpack(frame: bytes, lines: Sequence[bytes]) -> list[Verdict]:
    """Read the answer of a process to these lines, without its length."""
    verdicts: list[Verdict] = []
    for item, line in zip(marshal.loads(frame), lines, strict=True):  # noqa: S302  (of our own process)
        if item is None:
            verdicts.append(None)
        elif len(item) == len(Refused._fields):
            verdicts.append(Refused._make(item))
        else:
            verdicts.append(Signed._make((*item, _envelope(line))))
    return verdicts


def _packed(verdict: Verdict) -> _Raw:
    """Return what is answered; whoever asked has the envelope already, most of a line's bytes."""
    if verdict is None:
        return None
    return tuple(verdict[:-1]) if isinstance(verdict, Signed) else tuple(verdict)


def _frame(value: object) -> bytes:
    raw = marshal.dumps(value)  # type: ignore[arg-type]  # what has no such form, raises
    return len(raw).to_bytes(LENGTH, "big") + raw


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer frames until there are no more."""
    while head := asked.read(LENGTH):
        raw = asked.read(int.from_bytes(head, "big"))
        verdicts = verify(Job(*marshal.loads(raw)))  # noqa: S302  (of our own process)
        answered.write(_frame([_packed(verdict) for verdict in verdicts]))
        answered.flush()


if __name__ == "__main__":
    # A server that is told to stop by its whole group of processes still finishes what it has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
