"""HOT: finished answers, and the store that knows how fresh they are.

Notice for whoever changes this module:
* it imports the standard library only (import contract "hot");
* a hit costs at most 4 Python calls from socket to socket (tests/budgets/test_edge_calls.py), so
  `resolver.edge` reads the attributes of Answer and Answers directly instead of calling for them;
* an answer costs its body and at most 400 bytes (tests/unit/resolver/test_answers_memory.py).

Freshness (ADR 0011): an answer remembers the position it was filled at and the buckets of what it
depends on; a change raises its buckets. An answer is fresh while

    filled > the newest position in each of its buckets,  and  now < its expiry,  and  now < lease.

`Answers.generation` grows with each poll that changed something; an answer found fresh in this
generation is served without looking at its buckets again. Nothing is deleted for correctness.

One event loop owns an Answers: no method awaits, and none may be called from another thread.
"""

from __future__ import annotations

import re
import struct
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from math import inf
from typing import Self, cast

Headers = Sequence[tuple[bytes, bytes]]
Message = dict[str, object]

BUCKETS = 2**20
LARGEST_SHARE = 8  # one answer may take an eighth of the store
ABSENT_SHARE = 16  # what there is not has a place of its own, of a sixteenth of the store's size
SECOND_CHANCES = 32  # per eviction: the hand never sweeps a whole store of hot answers at once
UNSEEN = -1

# What the clock counts while the machine is suspended, counts against the lease.
boottime: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")  # what a parser passes on as it is; no fragment
_STRONG = re.compile(rb'"[\x21\x23-\x7e]*"')
_ETAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_BODILESS = 200
_KEPT = {b"content-location"}


class _Shapes(dict[int, Callable[[bytes], tuple[int, ...]]]):
    """By its length, how `Answer.needs` is unpacked: filled, stale_for, and the buckets."""

    def __missing__(self, length: int) -> Callable[[bytes], tuple[int, ...]]:
        shape = struct.Struct(f"<QI{(length - 12) // 4}I")
        self[length] = shape.unpack
        return shape.unpack


_SHAPES = _Shapes()


def bucket(tag: bytes) -> int:
    """Return the bucket of a tag; the hash is seeded per process, so nobody can aim at one."""
    return hash(tag) % BUCKETS


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Compare as RFC 9110 §13.1.2 does: weakly, any of a list, or `*`."""
    if if_none_match.strip() == b"*":
        return True
    return etag.removeprefix(b"W/") in _ETAG.findall(if_none_match)


def target_of(raw_path: bytes, query_string: bytes) -> bytes:
    """Return the request target under which the answer to an ASGI scope is kept."""
    return raw_path + b"?" + query_string if query_string else raw_path


class Head:
    """The status line and the headers that many answers share; make each once, and keep it.

    `not_modified` is for its 304, up to the value of the ETag: all but what describes the missing
    body (RFC 9110 §15.4.5). Other answers than 200 have none (§13.2.1).
    """

    __slots__ = ("fields", "headers", "not_modified", "status", "status_line")

    def __init__(self, status: int, headers: Headers) -> None:
        if status < _BODILESS or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            raise ValueError(f"{status} has no body: it is not an answer of its own")
        self.status = status
        self.headers = tuple(headers)
        self.status_line = _status_line(status)
        self.fields = _fields(self.headers)
        kept = [pair for pair in headers if pair[0] in _KEPT or pair[0][:8] != b"content-"]
        self.not_modified = _fields(kept) + b"etag: " if status == HTTPStatus.OK else b""

    def __repr__(self) -> str:
        return f"Head({self.status}, {self.fields!r})"


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())


STATUS_304 = _status_line(HTTPStatus.NOT_MODIFIED)


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"not a header in lower case: {name!r}: {value!r}")
    return b"".join(b"%s: %s\r\n" % pair for pair in headers)


class Answer:
    """One identifier in one representation, as it goes over the wire; immutable but for `seen`.

    On the wire: head.status_line, the date, head.fields, tail. `tail` is the answer's own fields,
    then ETag and Content-Length, the empty line, and the body:

        [location: …] [etag: "…"] content-length: … ⏎ body
                      ^ etag_at                     ^ body_at
    """

    __slots__ = ("body_at", "etag_at", "expires", "head", "needs", "seen", "tail")

    def __init__(
        self,
        head: Head,
        body: bytes,
        *,
        fields: Headers = (),
        etag: bytes = b"",
        tags: Collection[bytes] = (),
        filled: int = 0,
        expires: float = inf,
        stale_for: int = 0,
    ) -> None:
        """Build the bytes once.

        `fields` are headers of this answer alone (Location, Link); `etag` comes with its quotes
        and makes a 200 answer conditional; `tags` name everything it depends on; `filled` is the
        position it was read at; `expires` is on the clock of the store, and hard; `stale_for` is
        for how many seconds after the end of a lease it may be served if marked as stale.
        """
        if etag and not _STRONG.fullmatch(etag):
            raise ValueError(f"not a strong entity tag with its quotes: {etag!r}")
        self.head = head
        own = _fields(fields)
        validator = _fields([(b"etag", etag)]) if etag else b""
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.etag_at = len(own)
        self.body_at = len(own) + len(validator) + len(length)
        self.tail = b"".join((own, validator, length, body))
        self.expires = expires
        self.seen = UNSEEN
        buckets = {bucket(tag) for tag in tags}
        self.needs = struct.pack(f"<QI{len(buckets)}I", filled, stale_for, *buckets)

    @classmethod
    def restored(
        cls,
        head: Head,
        tail: bytes,
        *,
        etag_at: int,
        body_at: int,
        tags: Collection[bytes],
        filled: int,
        expires: float,
        stale_for: int,
    ) -> Self:
        """Make an answer again of its own bytes.

        Nothing is checked: for bytes that were an answer, and that nobody else could have written.
        """
        answer = cls.__new__(cls)
        answer.head, answer.tail = head, tail
        answer.etag_at, answer.body_at = etag_at, body_at
        answer.expires, answer.seen = expires, UNSEEN
        buckets = {hash(tag) % BUCKETS for tag in tags}
        answer.needs = struct.pack(f"<QI{len(buckets)}I", filled, stale_for, *buckets)
        return answer

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    @property
    def body(self) -> bytes:
        """The body alone."""
        return self.tail[self.body_at :]

    @property
    def etag(self) -> bytes:
        """The strong validator with its quotes, empty where there is none."""
        if self.head.status != HTTPStatus.OK or not self.tail.startswith(b"etag: ", self.etag_at):
            return b""
        return self.tail[self.etag_at + 6 : self.tail.index(b"\r\n", self.etag_at)]

    @property
    def filled(self) -> int:
        """The position that this answer was read at."""
        return _SHAPES[len(self.needs)](self.needs)[0]

    @property
    def stale_for(self) -> int:
        """For how many seconds after the end of a lease it may be served, marked."""
        return _SHAPES[len(self.needs)](self.needs)[1]

    @property
    def buckets(self) -> tuple[int, ...]:
        """The buckets of what it depends on."""
        return _SHAPES[len(self.needs)](self.needs)[2:]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All headers in their order, without the date."""
        return [*self.head.headers, *_parse(self.tail[: self.body_at - 4])]

    def asgi(
        self, method: str = "GET", if_none_match: bytes | None = None, instead: Headers = ()
    ) -> tuple[Message, Message]:
        """Return the two messages which make the server write what the edge writes.

        The date is not among the headers: the edge adds it to every response of either path.
        `instead` replaces headers of the same name and adds the others (marks of staleness).
        """
        status, headers, body = self.head.status, self.headers, self.tail[self.body_at :]
        etag = self.etag
        if if_none_match is not None and etag and matches(if_none_match, etag):
            status, body = HTTPStatus.NOT_MODIFIED, b""
            headers = _parse(self.head.not_modified + etag)
        if instead:
            new = {name for name, _ in instead}
            headers = [*(pair for pair in headers if pair[0] not in new), *instead]
        return (
            {"type": "http.response.start", "status": int(status), "headers": headers},
            {"type": "http.response.body", "body": b"" if method == "HEAD" else body},
        )

    def wire(
        self,
        date: bytes,
        method: bytes,
        if_none_match: bytes | None = None,
        instead: Headers = (),
    ) -> bytes:
        """Return what the server would write on a connection that stays open, given `asgi`.

        `date` is the line that the edge adds, `Answers.date`.
        """
        if instead:
            beginning, rest = self.asgi(method.decode(), if_none_match, instead)
            line = _status_line(cast("int", beginning["status"]))
            fields = _fields(cast("Headers", beginning["headers"]))
            return b"".join((line, date, fields, b"\r\n", cast("bytes", rest["body"])))
        head = self.head
        if if_none_match is not None and (etag := self.etag) and matches(if_none_match, etag):
            return b"".join((STATUS_304, date, head.not_modified, etag, b"\r\n\r\n"))
        tail = self.tail[: self.body_at] if method == b"HEAD" else self.tail
        return b"".join((head.status_line, date, head.fields, tail))

    def __repr__(self) -> str:
        return f"Answer({self.head.status}, {len(self.body)} B, filled {self.filled})"


def _parse(fields: bytes) -> list[tuple[bytes, bytes]]:
    split = (line.partition(b": ") for line in fields.split(b"\r\n"))
    return [(name, value) for name, _, value in split]


class Answers:
    """The in-process store: (request target, variant) -> Answer.

    The variant is a number below 256 made of the Accept header alone; the target is the raw request
    target with its query. Nothing else of a request may show in an answer, Host neither: whoever
    asks next gets the same bytes. `capacity` counts bytes of answers with their overhead; answers
    that there is nothing have a sixteenth of it beside, so that no flood of them drives out others.
    """

    def __init__(
        self,
        capacity: int,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
        epoch: str = "",
    ) -> None:
        self.capacity = capacity
        self.clock = clock
        self._wall = wall
        # where the changes stand
        self.epoch = epoch
        self.position = 0  # every change below it is applied
        self.floor = 0
        self.told = -1  # what others read at or below it may be older than what was served here
        self._told: dict[str, int] = {}  # by history, the highest position of what was served
        self.generation = 0
        self.fresh_until = -inf
        self._newest = array("Q", bytes(8 * BUCKETS))
        # what is kept: a table for each variant, and the ring that eviction walks
        self._tables: dict[int, dict[bytes, Answer]] = {}
        self._ring = _Ring()
        self._absent = _Ring()  # of the answers that there is nothing (404)
        self.held = 0  # bytes
        self.absent_held = 0
        # the date, made once per second
        self.date = b""
        self.dated: list[tuple[bytes, bytes]] = []
        self._date_until = -inf
        self.calm_until = -inf  # until then neither the lease ends nor the date changes
        # counters
        self.hits = 0
        self.not_modified = 0  # of the hits
        self.heads = 0  # of the hits
        self.misses = 0
        self.outdated = 0  # of the misses: a change touched it
        self.expired = 0  # of the misses: its own expiry
        self.lapsed = 0  # of the misses: the lease had ended
        self.served_stale = 0
        self.evictions = 0
        self.refused = 0  # too large, of another epoch, or outdated before it came

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def table(self, variant: int) -> dict[bytes, Answer]:
        """Return the answers of one variant by target: for reading, and for the edge only."""
        return self._tables.setdefault(variant, {})

    # Reading

    def get(self, target: bytes, variant: int) -> Answer | None:
        """Return a fresh answer, None where there is none."""
        answer = self.table(variant).get(target)
        if answer is None or not self.fresh(answer):
            self.misses += 1
            return None
        self.hits += 1
        return answer

    def calm(self, variant: int) -> tuple[Callable[[bytes], Answer | None], int, float]:
        """Return how to find answers of a variant, and what those are like that may be served.

        That is the generation that they were seen in, and a moment before they expire: now, or no
        moment at all where the lease or the date has to be looked at.
        """
        now = self.clock()
        return self.table(variant).get, self.generation, now if now < self.calm_until else inf

    def fresh(self, answer: Answer) -> bool:
        """Tell whether an answer may be served now: kept here, or just filled by somebody else."""
        return self.recheck(answer, self.clock())

    def recheck(self, answer: Answer, now: float) -> bool:
        """Decide with everything looked at; renew the date where a second has passed.

        One call: it is part of the budget of the first hit after a change.
        """
        if now >= self._date_until:
            self._renew_date(now)
        if now >= self.fresh_until:
            self.lapsed += 1
            return False
        if now >= answer.expires:
            self.expired += 1
            return False
        if answer.seen != self.generation:
            needs = answer.needs
            filled, _, *buckets = _SHAPES[len(needs)](needs)
            if max(map(self._newest.__getitem__, buckets), default=0) >= filled:
                self.outdated += 1
                return False
            answer.seen = self.generation
        return True

    def stale(self, target: bytes, variant: int) -> Answer | None:
        """Return an answer that was fresh when the lease ended, while it may be served marked.

        For degraded modes. Never one that a change is known to have touched, nor an expired one.
        """
        answer = self.table(variant).get(target)
        if answer is None or not self._untouched(answer):
            return None
        now = self.clock()
        if now >= answer.expires or now >= self.fresh_until + answer.stale_for:
            return None
        self.served_stale += 1
        return answer

    def standing(self, target: bytes, variant: int, filled: int = -1) -> Answer | None:
        """Return what is kept and fresh, and was read at or above `filled`; counts nothing.

        It may have been served, so whatever was read before it, and comes later, gives way to it.
        """
        answer = self.table(variant).get(target)
        if answer is None or answer.filled < filled or not self._untouched(answer):
            return None
        now = self.clock()
        return answer if now < answer.expires and now < self.fresh_until else None

    def holds(self, tags: Iterable[bytes], filled: int, epoch: str) -> bool:
        """Tell whether no change that is known touched what was read at `filled`, kept or not."""
        newest = self._newest
        return (
            epoch == self.epoch
            and filled >= self.floor
            and max([newest[hash(tag) % BUCKETS] for tag in tags], default=-1) < filled
        )

    def _untouched(self, answer: Answer) -> bool:
        needs = answer.needs
        filled, _, *buckets = _SHAPES[len(needs)](needs)
        newest = max(map(self._newest.__getitem__, buckets), default=-1)
        return filled >= self.floor and newest < filled

    def today(self) -> list[tuple[bytes, bytes]]:
        """Return the Date header of this second, for the server's other path."""
        now = self.clock()
        if now >= self._date_until:
            self._renew_date(now)
        return self.dated

    def _renew_date(self, now: float) -> None:
        wall = self._wall()
        value = formatdate(int(wall), usegmt=True).encode()
        self.date = b"date: %s\r\n" % value
        self.dated = [(b"date", value)]
        self._date_until = now + 1 - wall % 1
        self.calm_until = min(self.fresh_until, self._date_until)

    # Filling

    def put(self, target: bytes, variant: int, answer: Answer, epoch: str) -> bool:
        """Keep an answer; `epoch` is the one its `filled` belongs to. False where it is no use."""
        if not _TARGET.fullmatch(target):
            raise ValueError(f"not a request target: {target!r}")
        size = _size(target, answer)
        if (
            epoch != self.epoch
            or size * LARGEST_SHARE > self.capacity
            or not self._untouched(answer)
        ):
            self.refused += 1
            return False
        table = self.table(variant)
        old = table.get(target)
        absent = _is_absent(answer)
        if old is not None:
            self._hold(old, -_size(target, old))
        if old is None or _is_absent(old) != absent:
            # The other ring keeps its place, which is found empty when its hand comes there.
            (self._absent if absent else self._ring).add(target, variant)
        table[target] = answer
        self.tell(epoch, answer.filled)
        self._hold(answer, size)
        while self.held > self.capacity:
            self._evict(self._ring, absent=False)
        while self.absent_held * ABSENT_SHARE > self.capacity:
            self._evict(self._absent, absent=True)
        return True

    def _hold(self, answer: Answer, size: int) -> None:
        if _is_absent(answer):
            self.absent_held += size
        else:
            self.held += size

    def _evict(self, ring: _Ring, *, absent: bool) -> None:
        """Drop the first answer of a ring that was not served since the hand last passed it."""
        for chance in range(SECOND_CHANCES + 1):
            target, variant = ring.current()
            answer = self._tables[variant].get(target)
            if answer is None or _is_absent(answer) != absent:
                ring.drop()  # it moved to the other ring
                return
            if answer.seen == UNSEEN or chance == SECOND_CHANCES:
                del self._tables[variant][target]
                ring.drop()
                self._hold(answer, -_size(target, answer))
                self.evictions += 1
                return
            answer.seen = UNSEEN  # the next hit looks at its buckets, and so marks it as used
            ring.advance()

    def tell(self, epoch: str, position: int) -> None:
        """Take note of what is served: when all is dropped, nothing older may follow it."""
        if position > self._told.get(epoch, -1):
            self._told[epoch] = position

    # Following the changes

    def touch(self, tag: bytes, position: int) -> None:
        """Apply a change at `position` to what depends on `tag`; `advance` completes the poll."""
        at = bucket(tag)
        self._newest[at] = max(self._newest[at], position)

    def advance(self, position: int, fresh_until: float, *, changed: bool) -> None:
        """Complete a poll: every change below `position` is applied, the lease lasts until then.

        `fresh_until` is the clock **before** the poll was sent plus the length of a lease.
        `changed` tells whether `touch` was called since the last poll.
        """
        if changed:
            self.generation += 1
        self.position = max(self.position, position)
        self.fresh_until = fresh_until
        self.calm_until = min(fresh_until, self._date_until)

    def restart(self, epoch: str, floor: int) -> None:
        """Begin another history, or begin anew: drop everything, trust nothing read below `floor`.

        There is no lease until the next `advance`.
        """
        for table in self._tables.values():
            table.clear()  # in place: the edge keeps their `get`
        self._ring, self._absent = _Ring(), _Ring()
        self.held = self.absent_held = 0
        self.epoch = epoch
        self.floor = self.position = floor
        self.told = self._told.get(epoch, -1)
        self._told = {epoch: self.told}
        self.generation += 1
        self.fresh_until = self.calm_until = -inf
        self._newest = array("Q", bytes(8 * BUCKETS))


# Of an answer with six tags: object, key, value, dictionary entry, place in the ring.
OVERHEAD = 280


def _size(target: bytes, answer: Answer) -> int:
    return len(target) + len(answer.tail) + OVERHEAD


def _is_absent(answer: Answer) -> bool:
    return answer.head.status == HTTPStatus.NOT_FOUND


class _Ring:
    """The keys in a circle with a hand (CLOCK): 9 bytes a key, every step O(1).

    A dropped key leaves a hole just behind the hand, where the next one goes: a new key so has a
    whole turn of the hand before it is looked at.
    """

    __slots__ = ("_hand", "_holes", "_targets", "_variants")

    def __init__(self) -> None:
        self._targets: list[bytes | None] = []
        self._variants = bytearray()
        self._holes: list[int] = []
        self._hand = 0

    def __len__(self) -> int:
        return len(self._targets) - len(self._holes)

    def add(self, target: bytes, variant: int) -> None:
        if self._holes:
            at = self._holes.pop()
            self._targets[at], self._variants[at] = target, variant
        else:
            self._targets.append(target)
            self._variants.append(variant)

    def current(self) -> tuple[bytes, int]:
        """Return the key at the hand, holes passed over; there must be one."""
        while (target := self._targets[self._hand]) is None:
            self.advance()
        return target, self._variants[self._hand]

    def drop(self) -> None:
        self._targets[self._hand] = None
        self._holes.append(self._hand)
        self.advance()

    def advance(self) -> None:
        self._hand = (self._hand + 1) % len(self._targets)
