"""What clients did and saw while something broke, and the check that no promise was broken.

A history is data: reads, writes, what the stream of changes told, and in the end what the registry
holds. `violations` looks for what must not be; each has the number of its invariant:

    I1  an acknowledged write is lost
    I2  a client that keeps its connection is shown a version older than one it has seen, or one
        that moves is shown it more than the bound after it had seen the newer one (that is I3)
    I3  an answer that ended at t and bears no mark is older than what was acknowledged to, or
        seen by, anybody a bound before t; a marked one is older than its Age and the bound together
    I4  what was read was never written, or does not verify
    I5  one Idempotency-Key had two effects, or two answers
    I6  the stream of changes has a gap, or tells a change twice, or one that is none

Versions of a key only grow, so sorting is enough: O(n log n) where a general history would need a
search (operations.md, section 8). A write that was never answered may take effect at any time.
Times are of one monotonic clock, that of the process which observes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

LEASE = 0.6  # of the resolvers under test
PROMISED = 1.0  # seconds: the lease, a poll under way, and what a busy machine takes to tell
WHOLE_SECOND = 1.0  # an Age is cut down to whole seconds
STALL = 0.06  # the observer looks at the clock three times as often


class Violation(NamedTuple):
    """What must not be."""

    invariant: str
    said: str


@dataclass(slots=True)
class Read:
    """One answer about a key. `session` is one connection of a client to a node: one process."""

    client: str
    node: str
    session: int
    key: str
    start: float
    end: float
    version: int  # 0: there is none
    stamp: str = ""  # what its writer put into it
    marked: bool = False  # Tierlink-Stale
    age: int = 0
    fault: str = ""  # why it does not verify


@dataclass(slots=True)
class Refused:
    """A read that was turned away or broken off: a right answer at any time, and no version."""

    client: str
    node: str
    start: float
    end: float
    why: str


@dataclass(slots=True)
class Write:
    """One intention under one Idempotency-Key; `version` is None where it was never answered."""

    client: str
    token: str
    key: str
    stamp: str
    start: float
    end: float = 0.0
    version: int | None = None
    attempts: int = 0
    again: list[int] = field(default_factory=list)  # versions told when it was sent once more


class Told(NamedTuple):
    """One change as the stream told it."""

    position: int
    about: str
    version: int


@dataclass(slots=True)
class Batch:
    """One page of the stream of changes; watermarks are (history, position)."""

    after: tuple[str, int] | None
    until: tuple[str, int]
    changes: tuple[Told, ...]


@dataclass(slots=True)
class Standing:
    """What the registry holds in the end: every version with its stamp, every row of the outbox."""

    versions: dict[str, dict[int, str]]
    changes: tuple[Told, ...]


@dataclass(slots=True)
class History:
    """Everything that was observed."""

    reads: list[Read] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    stream: list[Batch] = field(default_factory=list)
    open_writes: list[tuple[float, float]] = field(default_factory=list)  # at, age of the oldest
    stalls: list[tuple[float, float]] = field(default_factory=list)  # the observer did not run
    standing: Standing = field(default_factory=lambda: Standing({}, ()))

    def violations(self) -> list[Violation]:
        """Return whatever must not be, of every kind."""
        self.settle()
        return [
            *lost(self.writes, self.standing),
            *gone_back(self.reads),
            *too_old(self.reads, self.writes, self.bound),
            *invented(self.reads, self.standing),
            *repeated(self.writes, self.standing),
            *gaps(self.stream, self.writes, self.standing),
        ]

    def settle(self) -> None:
        """Date reads that ended while the observer stood still to when it stopped.

        They may have come at any moment since then: none is called old that may have come in time.
        """
        begins = [since for since, _ in self.stalls]
        for read in self.reads:
            at = bisect_right(begins, read.end) - 1
            if at >= 0 and read.end <= self.stalls[at][1]:
                read.end = max(read.start, begins[at])

    def bound(self, at: float) -> float:
        """Return how old an unmarked answer may be: the promise, and the oldest open write."""
        times = [when for when, _ in self.open_writes]
        low = bisect_right(times, at - LEASE - 0.2)
        high = bisect_right(times, at + 0.2)
        return PROMISED + max((age for _, age in self.open_writes[low:high]), default=0.0)


def lost(writes: Iterable[Write], standing: Standing) -> Iterator[Violation]:
    """I1: look up each acknowledged write in what stands."""
    for write in writes:
        if write.version is None:
            continue
        found = standing.versions.get(write.key, {}).get(write.version)
        if found != write.stamp:
            yield Violation("I1", f"{write} was acknowledged, and there stands {found!r}")


def gone_back(reads: Iterable[Read]) -> Iterator[Violation]:
    """I2: follow each connection of each client, whatever marks its answers bear."""
    seen: dict[tuple[str, int, str], Read] = {}
    for read in sorted(reads, key=lambda read: (read.start, read.end)):
        place = (read.client, read.session, read.key)
        before = seen.get(place)
        if before is not None and read.version < before.version:
            yield Violation("I2", f"after {before} came {read}")
        else:
            seen[place] = read


class _Known:
    """By time, the newest version of each key that was acknowledged to, or seen by, anybody."""

    def __init__(self, reads: Iterable[Read], writes: Iterable[Write]) -> None:
        events = defaultdict(list)
        for write in writes:
            if write.version is not None:
                events[write.key].append((write.end, write.version))
        for read in reads:
            events[read.key].append((read.end, read.version))
        self._times: dict[str, list[float]] = {}
        self._newest: dict[str, list[int]] = {}
        for key, found in events.items():
            found.sort()
            newest = 0
            self._times[key], self._newest[key] = [], []
            for at, version in found:
                newest = max(newest, version)
                self._times[key].append(at)
                self._newest[key].append(newest)

    def at(self, key: str, when: float) -> int:
        """Return the newest version known by then, 0 where there was none."""
        place = bisect_right(self._times.get(key, []), when)
        return self._newest[key][place - 1] if place else 0


def too_old(reads: list[Read], writes: Iterable[Write], bound) -> Iterator[Violation]:
    """I3: hold each answer against what was known a bound before it ended."""
    known = _Known(reads, writes)
    for read in reads:
        allowed = bound(read.end)
        if read.marked:
            allowed += read.age + WHOLE_SECOND
        least = known.at(read.key, read.end - allowed)
        if read.version < least:
            yield Violation("I3", f"{least} was known {allowed:.3f} s before the end of {read}")


def invented(reads: Iterable[Read], standing: Standing) -> Iterator[Violation]:
    """I4: each answer verified, and says what was written as that version."""
    for read in reads:
        if read.fault:
            yield Violation("I4", f"{read} does not verify: {read.fault}")
        elif read.version:
            written = standing.versions.get(read.key, {}).get(read.version)
            if written != read.stamp:
                yield Violation("I4", f"{read} was never written, but {written!r}")


def repeated(writes: Iterable[Write], standing: Standing) -> Iterator[Violation]:
    """I5: each stamp stands once at most, and a repeated request is told what the first was."""
    effects = Counter(
        (key, stamp) for key, versions in standing.versions.items() for stamp in versions.values()
    )
    for write in writes:
        if effects[write.key, write.stamp] > 1:
            yield Violation("I5", f"{write} had {effects[write.key, write.stamp]} effects")
        if any(version != write.version for version in write.again):
            yield Violation("I5", f"{write} was answered otherwise when it was sent again")


def gaps(stream: list[Batch], writes: Iterable[Write], standing: Standing) -> Iterator[Violation]:
    """I6: batches join without gap, and all of them together are the outbox, each row once."""
    runs = _runs(stream)
    for batch in stream:
        yield from _in_place(batch)
    for run in runs:
        for before, after in pairwise(run):
            if after.after != before.until:
                yield Violation("I6", f"{after.after} was asked for after {before.until}")
    yield from _all_told(runs, standing)
    outbox = Counter((row.about, row.version) for row in standing.changes)
    for write in writes:
        if write.version is not None and (rows := outbox[write.key, write.version]) != 1:
            yield Violation("I6", f"{write} has {rows} rows in the outbox")


def _all_told(runs: list[list[Batch]], standing: Standing) -> Iterator[Violation]:
    """Compare what was told with the rows between where each run began and where it ended."""
    told = Counter(change for run in runs for batch in run for change in batch.changes)
    ranges = [((run[0].after or run[0].until)[1], run[-1].until[1]) for run in runs]
    rows = Counter(row for row in standing.changes if any(a <= row.position < b for a, b in ranges))
    for row in {*rows, *told}:
        if told[row] != rows[row]:
            yield Violation("I6", f"{row} was told {told[row]} times, not {rows[row]}")


def _runs(stream: list[Batch]) -> list[list[Batch]]:
    """Cut the stream where another history begins."""
    runs: list[list[Batch]] = []
    for batch in stream:
        if runs and runs[-1][-1].until[0] == batch.until[0]:
            runs[-1].append(batch)
        else:
            runs.append([batch])
    return runs


def _in_place(batch: Batch) -> Iterator[Violation]:
    positions = [change.position for change in batch.changes]
    since = batch.until[1] if batch.after is None else batch.after[1]
    if positions != sorted(positions):
        yield Violation("I6", f"{batch} is out of order")
    if positions and not since <= positions[0] <= positions[-1] < batch.until[1]:
        yield Violation("I6", f"{batch} tells of what lies outside of it")
