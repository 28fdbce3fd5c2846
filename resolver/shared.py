"""The second cache: finished answers in Redis, shared by the resolvers of one operator.

    S1  an entry is a finished answer with the position and the history that it was read at, and
        the names of everything it depends on
    S2  sealed: HMAC-SHA256 over its key and all of it, under a secret of these resolvers. Whoever
        could seal it had verified its envelopes; whoever can only write to Redis forges nothing
    S3  it is served by the very rule of the first cache: its history is ours, it was read at or
        above our floor, no change that we know of touched what it depends on, the lease holds
    S4  what is asked for while a command is under way leaves in the next one, together; nobody
        waits longer than two time-outs, and after a failure nobody asks for a while (the breaker)
    S5  what was filled is written behind the answer's back; writes that pile up are dropped

So Redis lost, flushed, restored from an old dump, slow or cut off costs time, never freshness: an
old entry fails S3. Time to live bounds memory and nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from .answers import Answer, Answers, Head, boottime
from .metrics import Metrics

BATCH = 512  # keys of one command
CROWD = 64  # keys that do not wait for the command before them
ALOFT = 8  # commands under way at a time
WRITES = 4096  # answers that may wait to be written
TTL = 86_400  # seconds
TIMEOUT = 0.03  # seconds that a request waits for Redis
BREAK, LONGEST_BREAK = 0.1, 5.0  # seconds without asking, doubled by each failure in a row
HEADS = 1024

_SEAL = 16  # bytes of the HMAC
_SEALED = 3 + _SEAL  # where what is sealed begins, behind the magic number
_MAGIC = b"tl2"
_LAYOUT = struct.Struct(">QdIHII4I")  # …, the lengths of epoch, shared fields, tags, and the rest

_log = logging.getLogger(__name__)

Key = tuple[bytes, int]  # request target, variant
Told = Callable[[Answer | None], None]


class Memory(Protocol):
    """What is needed of Redis; `resolver.redis_memory` has it for one server, Sentinel, Cluster."""

    async def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return what is kept under each name, in order."""
        ...

    async def set_many(self, entries: Mapping[bytes, bytes], seconds: int) -> None:
        """Keep entries for at most so long."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer as it is shared: with what `Answer` has only in the numbers of one process."""

    answer: Answer
    epoch: str
    tags: tuple[bytes, ...]


class Seal:
    """Turns entries into bytes and back (S1, S2); knows the clock of its own process only."""

    def __init__(
        self,
        secret: bytes,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._wall = wall
        self._heads: dict[tuple[int, bytes], Head] = {}

    def pack(self, name: bytes, entry: Entry) -> bytes:
        """Return the bytes to keep under a name."""
        answer = entry.answer
        parts = (entry.epoch.encode(), answer.head.fields, b"\n".join(entry.tags), answer.tail)
        expires = inf if answer.expires == inf else answer.expires - self._clock() + self._wall()
        content = _LAYOUT.pack(
            answer.filled,
            expires,
            answer.stale_for,
            answer.status,
            answer.etag_at,
            answer.body_at,
            *map(len, parts),
        ) + b"".join(parts)
        return _MAGIC + self._mac(name, content) + content

    def unpack(self, name: bytes, raw: bytes) -> Entry | None:
        """Read what is kept under a name; None where it is none of ours."""
        content = raw[_SEALED:]
        if not raw.startswith(_MAGIC) or len(content) < _LAYOUT.size:
            return None
        if not hmac.compare_digest(raw[len(_MAGIC) : _SEALED], self._mac(name, content)):
            return None
        numbers = _LAYOUT.unpack_from(content)
        filled, expires, stale_for, status, etag_at, body_at, *lengths = numbers
        at = _LAYOUT.size
        epoch, shared, tags, _ = lengths
        shared_at, tags_at = at + epoch, at + epoch + shared
        tail_at = tags_at + tags
        named = tuple(content[tags_at:tail_at].split(b"\n")) if tags else ()
        # Its bytes were an answer's when it was sealed, so that nothing of them is read again.
        answer = Answer.restored(
            self._head(status, content[shared_at:tags_at]),
            content[tail_at:],
            etag_at=etag_at,
            body_at=body_at,
            tags=named,
            filled=filled,
            expires=inf if expires == inf else expires - self._wall() + self._clock(),
            stale_for=stale_for,
        )
        return Entry(answer, content[at:shared_at].decode(), named)

    def _mac(self, name: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, b"%d:%s%s" % (len(name), name, content), "sha256")[:_SEAL]

    def _head(self, status: int, fields: bytes) -> Head:
        """Return the one object for a status line and its headers: answers share them."""
        head = self._heads.get((status, fields))
        if head is None:
            if len(self._heads) >= HEADS:
                self._heads.clear()
            head = self._heads[status, fields] = Head(status, _fields(fields))
        return head


def _fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    lines = (line.partition(b": ") for line in raw.split(b"\r\n") if line)
    return [(name, value) for name, _, value in lines]


class Breaker:
    """Opens for a while after a failure, longer after each one in a row (S4)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = -inf
        self._pause = BREAK

    @property
    def open(self) -> bool:
        """Tell whether nobody should ask now."""
        return self._clock() < self._until

    def failed(self) -> None:
        """Open: half as many failures in a row as there are may be of one moment."""
        if self.open:
            return
        self._until = self._clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_BREAK)

    def worked(self) -> None:
        """Close."""
        self._pause = BREAK


class Shared:
    """The second cache, for one event loop; owns nothing of what it is given but the memory."""

    def __init__(
        self,
        memory: Memory,
        secret: bytes,
        answers: Answers,
        *,
        timeout: float = TIMEOUT,
        ttl: int = TTL,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self._memory = memory
        self._seal = Seal(secret, clock, wall)
        self._answers = answers
        self._timeout = timeout
        self._ttl = ttl
        self._breaker = Breaker(clock)
        self._clock = clock
        self._asked: dict[Key, list[Told]] = {}  # who waits for what
        self._waiting: list[Key] = []
        self._writes: dict[Key, Entry] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._aloft = 0
        self._writing = False
        self._closed = False
        self._count(metrics or Metrics())

    def _count(self, metrics: Metrics) -> None:
        def counter(name: str, explained: str) -> Callable[[float], None]:
            return metrics.counter(f"tierlink_shared_{name}_total", explained).add

        self._hit = counter("hits", "Answers of the second cache that were served.")
        self._missed = counter("misses", "Answers that the second cache did not have.")
        self._outdated = counter("outdated", "Answers of the second cache that were not fresh.")
        self._foreign = counter("forged", "Entries of the second cache that were none of ours.")
        self._failed = counter("failures", "Commands that failed or took too long.")
        self._skipped = counter("skipped", "Requests that did not ask while the breaker was open.")
        self._written = counter("writes", "Answers written to the second cache.")
        self._dropped = counter("dropped", "Answers that were not written: too many waited.")

    # S3, S4

    async def get(self, target: bytes, variant: int) -> Answer | None:
        """Return a fresh answer, kept here from now on; None where there is none, or no time."""
        found: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        def told(answer: Answer | None) -> None:
            if not found.done():
                found.set_result(answer)

        if not self.ask(target, variant, told):
            return None
        answer = await found
        # Turns of the event loop have passed: the rule once more.
        return answer if answer is not None and self._answers.fresh(answer) else None

    def ask(self, target: bytes, variant: int, told: Told) -> bool:
        """Have `told` called with an answer that is fresh at that moment, or with None.

        False, and it is never called, while there is nobody to ask or no lease to answer under.
        """
        if self._closed or self._breaker.open:
            self._skipped(1)
            return False
        if self._clock() >= self._answers.fresh_until:
            return False
        key = (target, variant)
        waiting = self._asked.get(key)
        if waiting is not None:
            waiting.append(told)
            return True
        self._asked[key] = [told]
        self._waiting.append(key)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._depart)
        return True

    def _depart(self) -> None:
        while self._waiting and (
            not self._aloft or (len(self._waiting) >= CROWD and self._aloft < ALOFT)
        ):
            keys, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._aloft += 1
            self._start(self._fly(keys))

    async def _fly(self, keys: Sequence[Key]) -> None:
        found: Sequence[bytes | None] = ()
        names = [_name(key) for key in keys]
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._memory.get_many(names)
            self._breaker.worked()
        except Exception as err:  # noqa: BLE001  (whatever a driver raises, the source still answers)
            self._broke(err)
        finally:
            self._aloft -= 1
            for at, key in enumerate(keys):
                raw = found[at] if at < len(found) else None
                self._land(key, self._fresh(key, names[at], raw))
            if self._breaker.open or self._closed:
                self._dismiss()
            self._depart()

    def _dismiss(self) -> None:
        """Let those who wait for the next command ask the source."""
        keys, self._waiting = self._waiting, []
        for key in keys:
            self._land(key, None)

    def _land(self, key: Key, answer: Answer | None) -> None:
        for told in self._asked.pop(key):
            try:
                told(answer)
            except Exception:  # noqa: BLE001  (the others wait too)
                _log.exception("an answer to %s did not arrive", key[0])

    def _fresh(self, key: Key, name: bytes, raw: bytes | None) -> Answer | None:
        """Take S3 for what was found, and keep it."""
        if raw is None:
            self._missed(1)
            return None
        entry = self._seal.unpack(name, raw)
        if entry is None:
            self._foreign(1)
            return None
        # What was kept while Redis was asked stays: the entry may be the older of the two.
        standing = self._answers.standing(*key)
        if standing is not None:
            self._hit(1)
            return standing
        # Read before something that was served here: a change between them may not be known yet.
        early = entry.answer.filled <= self._answers.told
        kept = not early and self._answers.put(*key, entry.answer, entry.epoch)
        if not kept or not self._answers.fresh(entry.answer):
            self._outdated(1)
            return None
        self._hit(1)
        return entry.answer

    def _broke(self, err: Exception) -> None:
        self._failed(1)
        if not self._breaker.open:
            _log.warning("the second cache is passed over: %s: %s", type(err).__name__, err)
        self._breaker.failed()

    # S5

    def put(
        self, target: bytes, variant: int, answer: Answer, tags: Sequence[bytes], epoch: str
    ) -> None:
        """Write an answer soon; costs its request nothing."""
        if len(self._writes) >= WRITES or self._breaker.open:
            self._dropped(1)
            return
        self._writes[target, variant] = Entry(answer, epoch, tuple(tags))
        if not self._writing:
            self._writing = True
            self._start(self._write())

    async def _write(self) -> None:
        try:
            while self._writes:
                await asyncio.sleep(0.002)  # those of the same moment leave together
                chosen = dict(list(self._writes.items())[:BATCH])
                for key in chosen:
                    del self._writes[key]
                packed = {
                    _name(key): self._seal.pack(_name(key), entry) for key, entry in chosen.items()
                }
                async with asyncio.timeout(10 * self._timeout):
                    await self._memory.set_many(packed, self._ttl)
                self._written(len(packed))
        except Exception as err:  # noqa: BLE001  (a lost write costs a miss)
            self._writes.clear()
            self._broke(err)
        finally:
            self._writing = False

    def _start(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way and close the connections."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._memory.close()


def _name(key: Key) -> bytes:
    return b"tierlink:%d:%s" % (key[1], key[0])
