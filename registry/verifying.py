"""Reading and verifying lines in a process of its own: bytes in, compact results out.

    python -m registry.verifying        frames on standard input, answered on standard output

A frame is 8 bytes of length and a value in the interpreter's own `marshal` form: both ends are
one installation, and nobody else writes to the pipe. The process holds no key that signs and no
connection; it ends when its input does. What it cannot judge alone, such as a draft, which needs
the hosted key, is returned unread.
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
from schemas.errors import TierlinkError
from schemas.identifier import Prefix

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


def verify(job: Job) -> list[Verdict]:
    """Read and verify lines."""
    chain = _chain(job.root, job.delegations, job.places, job.prefix)
    prefix = Prefix.parse(job.prefix)
    return [_verdict(line, chain, prefix, job.now) for line in job.lines]


@lru_cache(maxsize=16)
def _chain(
    root: str, delegations: tuple[str, ...], places: tuple[tuple[str, int], ...], prefix: str
) -> Chain:
    found = validate(Chain((parse_root(root)[1],)), delegations, Prefix.parse(prefix))
    return found.logged({Prefix.parse(place): index for place, index in places})


class _Unread(Exception):
    """No fault: needs what this process does not have."""


def _verdict(line: bytes, chain: Chain, prefix: Prefix, now: int) -> Verdict:
    about = None
    try:
        body = read_line(line)
        if "envelope" not in body or "disclosures" in body:
            return None
        offer = read_offer(body, now, _no_salt)
        record, envelope = offer.record, offer.envelope
        assert envelope is not None
        about = record.identifier.text
        if record.identifier.prefix != prefix:
            raise not_held(prefix, record.identifier.prefix)
        check_envelope(chain, record, envelope, now)
    except TierlinkError as err:
        return Refused(about, err.problem()) if err.status < 500 else None  # noqa: PLR2004  (HTTP's own line)
    except _Unread:
        return None
    parent = record.parent.text if record.parent else None
    return Signed(
        about,
        record.version,
        record.kind,
        record.status,
        parent,
        record.issued_at,
        envelope.digest,
        envelope.token,
    )


def _no_salt(_content: bytes) -> bytes:
    raise _Unread


def pack(job: Job) -> bytes:
    """Return the frame of a job."""
    return _frame(tuple(job))


def unpack(frame: bytes) -> list[Verdict]:
    """Read the answer of a process, without its length."""
    verdicts: list[Verdict] = []
    for item in marshal.loads(frame):  # noqa: S302  (of our own process)
        if item is None:
            verdicts.append(None)
        else:
            verdicts.append(Refused(*item) if len(item) == len(Refused._fields) else Signed(*item))
    return verdicts


def _frame(value: object) -> bytes:
    raw = marshal.dumps(value)  # type: ignore[arg-type]  # what has no such form, raises
    return len(raw).to_bytes(LENGTH, "big") + raw


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer frames until there are no more."""
    while head := asked.read(LENGTH):
        raw = asked.read(int.from_bytes(head, "big"))
        verdicts: list[_Raw] = [
            None if verdict is None else tuple(verdict)
            for verdict in verify(Job(*marshal.loads(raw)))  # noqa: S302  (of our own process)
        ]
        answered.write(_frame(verdicts))
        answered.flush()


if __name__ == "__main__":
    # A server that is told to stop by its whole group of processes still finishes what it has.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    serve(sys.stdin.buffer, sys.stdout.buffer)
