"""Clients of a cluster that write and read without a pause, and write down what they saw.

    with Load(cluster) as load:
        …                      break something
    load.history               complete once the block has ended: every write is answered, every
                               reader has seen the last version of every key, unmarked

Who takes part, each with connections of its own that it keeps for as long as they last:

    writers     draw a key, write its next version whatever stands (If-Match: *), and send it again
                under the same Idempotency-Key until it is answered; now and then once more after
                that. One of them is the product's client
    readers     two on lone, three on crew, one on standby; one that moves from node to node with
                each question; and the product's client on each single process
    a follower  of /v1/changes, a few at a time
    a sampler   of the age of the oldest open write transaction, and one of the loop's own pauses
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, cycle
from random import Random
from typing import Self

import asyncpg
import httpx

from schemas.errors import (
    IdentifierNotFound,
    TierlinkError,
    Unavailable,
    VerifyError,
    VersionStale,
)
from tests.faults.cluster import CREW, LONE, PREFIX, STANDBY, Cluster
from tests.faults.history import STALL, Batch, History, Read, Refused, Standing, Told, Write
from tests.fixtures_standby import DATABASE
from tests.servers import wait_for
from tierlink.client import AsyncClient, Client, Retry, verify
from tierlink.client.context import open_trust

KEYS = 5
WRITERS = 3
PAUSE = 0.02  # seconds between two writes of a writer
READ_PAUSE = 0.006
FEW = 7  # changes of one page
PATIENCE = 6.0  # seconds that a reader waits
SECONDS = 60  # for everybody to see the last of everything, on a busy machine
REPEATED = 0.15  # of the writes are sent once more after their answer
RECORD = 1  # the number of this kind of change in the outbox
# What the driver raises where a server goes away, the last in the middle of something else.
DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_loads = count(1)
_sessions = count(1)
_stamps = count(1)


@dataclass(frozen=True, slots=True)
class Patient(Retry):
    """Tries again, without growing tired, what the product's own client may repeat."""

    attempts: int = 200

    def wait(self, attempt: int, failure: TierlinkError) -> float | None:
        tired = not isinstance(failure, Unavailable) or attempt >= self.attempts
        return None if tired else 0.1


class Marks(httpx.AsyncHTTPTransport):
    """Keeps the headers of the last answer: the product's client does not show the mark."""

    last: httpx.Headers = httpx.Headers()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        self.last = response.headers
        return response


class Load:
    """One load; its thread has the only event loop that touches what is recorded."""

    def __init__(self, cluster: Cluster, seed: int = 0) -> None:
        self.cluster = cluster
        self.history = History()
        self.unexpected: list[str] = []
        self.stem = f"{PREFIX}/L{next(_loads)}-"
        self.keys = [f"{self.stem}{number}" for number in range(KEYS)]
        self._random = Random(seed)
        self._trust = open_trust(cluster.trust)
        self._written: list[str] = []  # keys that are registered
        self._verdicts: dict[bytes, str] = {}
        self._latest: dict[tuple[str, str, str], Read] = {}  # of each reader, node and key
        self._followed = ("", 0)
        self._writing = True
        self._over = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None

    # Begin and end

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait(self._all_begun, "the first version at every reader")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind, *_: object) -> None:
        self._writing = False
        try:
            if kind is None:
                self.wait(lambda: not self._pending, "an answer to every write")
                self.history.standing = self._standing()
                last = max(change.position for change in self.history.standing.changes)
                self.wait(lambda: self._followed[1] > last, "the end of the changes")
                self.wait(lambda: not self._behind(), "the last version at every reader")
        except AssertionError as err:
            raise AssertionError(f"{err}; behind: {self._behind()}") from err
        finally:
            self._stop()

    def wait(self, ready, what: str) -> None:
        """Wait until something is so; fail when the load itself fails, or after long."""

        def ready_or_failed() -> object:
            assert self._failure is None, self._failure
            return ready()

        wait_for(ready_or_failed, SECONDS, what)

    def recovers(self, node: str) -> None:
        """Wait until everybody who asks a node is answered, and without a mark."""
        since = time.monotonic()
        self.wait(
            lambda: all(
                read.start > since and not read.marked
                for read in list(self._latest.values())
                if read.node == node
            ),
            f"{node} to recover",
        )

    def _stop(self) -> None:
        self._over = True
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _all_begun(self) -> bool:
        """Tell whether everybody has seen every key; what does not exist yet is never stale."""
        pairs = sum(len(nodes) for _, nodes in self._readers()) + 2  # and the product's clients
        seen = sum(read.version > 0 for read in list(self._latest.values()))
        return seen == KEYS * pairs

    def _behind(self) -> list[Read]:
        """Return the last answers that are not of the last version, or marked."""
        newest = {key: max(self.history.standing.versions[key]) for key in self.keys}
        return [
            read
            for read in list(self._latest.values())
            if read.marked or read.version != newest[read.key]
        ]

    def _standing(self) -> Standing:
        versions = {}
        with Client(self.cluster.registry.url, trust=self.cluster.trust) as client:
            for key in self.keys:
                found = client.versions(key, limit=100)
                versions[key] = {v.record.version: v.record.attributes["n"] for v in found}
        rows = self.cluster.primary.execute(
            "SELECT xid, about, version FROM changes WHERE op = $1 AND starts_with(about, $2) "
            "ORDER BY xid, id",
            RECORD,
            self.stem,
        )
        return Standing(versions, tuple(Told(*row) for row in rows))

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._all())
        except BaseException as err:  # noqa: BLE001  raised again in the thread of the test
            self._failure = err
        finally:
            self._loop.close()

    def _readers(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the readers that speak HTTP themselves: a name, and the nodes they ask."""
        nodes = (LONE, LONE, CREW, CREW, CREW, STANDBY)
        staying = [(f"{node}{number}", (node,)) for number, node in enumerate(nodes)]
        return [*staying, ("mover", (LONE, CREW, STANDBY))]

    async def _all(self) -> None:
        self._pending: set[str] = set()
        begun = asyncio.Event()
        works = [self._follow(begun), self._sample(), self._watch()]
        works += [self._ask(name, nodes) for name, nodes in self._readers()]
        works += [self._ask_by_client(node) for node in (LONE, STANDBY)]
        works += [self._write(number, begun) for number in range(WRITERS)]
        works.append(self._write_by_client(begun))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Writing

    def _draft(self, key: str, stamp: str) -> dict[str, object]:
        return {"identifier": key, "kind": "item", "attributes": {"n": stamp}}

    def _intend(self, client: str, key: str) -> Write:
        stamp = f"{client}.{next(_stamps)}"
        write = Write(client, f"token {stamp}".replace(" ", "-"), key, stamp, time.monotonic())
        self.history.writes.append(write)
        self._pending.add(stamp)
        return write

    def _done(self, write: Write, version: int) -> None:
        write.end, write.version = time.monotonic(), version
        self._pending.discard(write.stamp)

    async def _write(self, number: int, begun: asyncio.Event) -> None:
        name = f"writer{number}"
        await begun.wait()
        headers = {"authorization": f"Bearer {self.cluster.api_key}"}
        url = self.cluster.registry.url
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=8) as http:
            for key in self.keys[number::WRITERS]:
                await self._send(http, "POST", self._intend(name, key))
                self._written.append(key)
            while self._writing:
                await self._send(
                    http, "PUT", self._intend(name, self._random.choice(self._written))
                )
                await asyncio.sleep(PAUSE)

    async def _send(self, http: httpx.AsyncClient, method: str, write: Write) -> None:
        while not self._over:
            version = await self._attempt(http, method, write)
            if version is not None:
                self._done(write, version)
                break
            await asyncio.sleep(0.1)
        if self._random.random() < REPEATED and not self._over:
            version = await self._attempt(http, method, write)
            if version is not None:
                write.again.append(version)

    async def _attempt(self, http: httpx.AsyncClient, method: str, write: Write) -> int | None:
        write.attempts += 1
        path = "/v1/identifiers" + (f"/{write.key}" if method == "PUT" else "")
        headers = {"idempotency-key": write.token}
        if method == "PUT":
            headers["if-match"] = "*"
        try:
            body = self._draft(write.key, write.stamp)
            answer = await http.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            return None
        if answer.status_code in (200, 201):
            return answer.json()["version"]
        # 412: somebody else was faster, and nothing was done; it is tried again as after a 503
        if answer.status_code not in (412, 503):
            self.unexpected.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return None

    async def _write_by_client(self, begun: asyncio.Event) -> None:
        await begun.wait()
        client = AsyncClient(
            self.cluster.registry.url, api_key=self.cluster.api_key, retry=Patient()
        )
        async with client:
            while self._writing:
                if self._written:
                    write = self._intend("client", self._random.choice(self._written))
                    draft = self._draft(write.key, write.stamp)
                    try:
                        done = await client.update(draft, if_match="*")
                    except VersionStale:  # refused: what it meant to write is nowhere
                        self._pending.discard(write.stamp)
                    else:
                        self._done(write, done.version)
                await asyncio.sleep(PAUSE)

    # Reading

    async def _ask(self, name: str, nodes: tuple[str, ...]) -> None:
        links = {node: _Connection(self.cluster.nodes[node].port) for node in nodes}
        for key, node in zip(cycle(self.keys), cycle(nodes), strict=False):
            if self._over:
                break
            await self._ask_once(name, node, key, links[node])
            await asyncio.sleep(READ_PAUSE)
        for link in links.values():
            link.close()

    async def _ask_once(self, name: str, node: str, key: str, link: _Connection) -> None:
        start = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                status, headers, body = await link.get(f"/{key}")
        except (OSError, EOFError, TimeoutError) as err:
            link.close()
            self._refuse(name, node, start, type(err).__name__)
            await asyncio.sleep(0.05)
            return
        end = time.monotonic()
        if status == 503:
            self._refuse(name, node, start, json.loads(body)["code"])
        elif status in (200, 404):
            document = json.loads(body) if status == 200 else {"version": 0}
            marked, age = headers.get(b"tierlink-stale") == b"1", int(headers.get(b"age", b"0"))
            stamp = document.get("attributes", {}).get("n", "")
            fault = self._judge(key, body) if status == 200 else ""
            read = Read(name, node, link.session, key, start, end, document["version"], stamp,
                        marked, age, fault)  # fmt: skip
            self._saw(read)
        else:
            self.unexpected.append(f"GET /{key} of {node}: {status} {body!r}")

    async def _ask_by_client(self, node: str) -> None:
        """Ask as a partner does: one name, whatever process answers to it."""
        marks, session, name = Marks(), next(_sessions), f"client of {node}"
        client = AsyncClient(
            self.cluster.nodes[node].url,
            trust=self._trust,
            retry=Retry(attempts=1),
            transport=marks,
        )
        async with client:
            for key in cycle(self.keys):
                if self._over:
                    break
                start, version, stamp, fault = time.monotonic(), 0, "", ""
                try:
                    answer = await client.resolve(key)
                    version, stamp = answer.version, answer.attributes["n"]
                except IdentifierNotFound:
                    pass
                except VerifyError as err:
                    fault = str(err)
                except Unavailable:
                    self._refuse(name, node, start, "Unavailable")
                    await asyncio.sleep(0.05)
                    continue
                marked, age = "tierlink-stale" in marks.last, int(marks.last.get("age", "0"))
                self._saw(Read(name, node, session, key, start, time.monotonic(), version,
                               str(stamp), marked, age, fault))  # fmt: skip
                await asyncio.sleep(4 * READ_PAUSE)

    def _saw(self, read: Read) -> None:
        self.history.reads.append(read)
        self._latest[read.client, read.node, read.key] = read

    def _refuse(self, name: str, node: str, start: float, why: str) -> None:
        self.history.refused.append(Refused(name, node, start, time.monotonic(), why))

    def _judge(self, key: str, body: bytes) -> str:
        """Verify as a partner does; the same bytes once."""
        mark = hashlib.sha256(body).digest()
        if mark not in self._verdicts:
            try:
                verdict = verify(body, self._trust)
                self._verdicts[mark] = "" if verdict.about == key else f"about {verdict.about}"
            except VerifyError as err:
                self._verdicts[mark] = str(err)
        return self._verdicts[mark]

    # Looking on

    async def _follow(self, begun: asyncio.Event) -> None:
        after: str | None = None
        async with httpx.AsyncClient(base_url=self.cluster.registry.url, timeout=8) as http:
            while not self._over:
                query = {"limit": FEW} if after is None else {"limit": FEW, "after": after}
                try:
                    answer = await http.get("/v1/changes", params=query)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
                    continue
                if answer.status_code != 200:
                    await asyncio.sleep(0.1)
                    continue
                document = answer.json()
                self._tell(after, document)
                after = document["watermark"]
                begun.set()
                if not document["more"]:
                    await asyncio.sleep(0.1)

    def _tell(self, after: str | None, document: dict) -> None:
        until = _mark(document["watermark"])
        asked = None if after is None else _mark(after)
        if asked is not None and asked[0] != until[0]:
            asked = None  # another history: it begins anew, and lists nothing
            assert not document["changes"]
        told = tuple(
            Told(change["position"], change["about"], change["version"])
            for change in document["changes"]
            if change["op"] == "record" and change["about"].startswith(self.stem)
        )
        self.history.stream.append(Batch(asked, until, told))
        self._followed = until

    async def _sample(self) -> None:
        sql = (
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 "
            "FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
        )
        while not self._over:
            url = self.cluster.primary.url_of("postgresql", DATABASE)
            with suppress(OSError, TimeoutError, *DRIVER):
                connection = await asyncpg.connect(url, timeout=2)
                try:
                    while not self._over:
                        age = await connection.fetchval(sql, timeout=2)
                        self.history.open_writes.append((time.monotonic(), age))
                        await asyncio.sleep(0.05)
                finally:
                    connection.terminate()
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        before = time.monotonic()
        while not self._over:
            await asyncio.sleep(STALL / 3)
            now = time.monotonic()
            if now - before > STALL:
                self.history.stalls.append((before, now))
            before = now


def _mark(text: str) -> tuple[str, int]:
    epoch, _, position = text.rpartition(".")
    return epoch, int(position)


class _Connection:
    """One kept-alive connection: as long as it lasts, the same process answers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.session = 0

    async def get(self, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
        """Ask; raise OSError or EOFError where the answer breaks off."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            self.session = next(_sessions)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nhost: node\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        line, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        body = await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return int(line.split()[1]), headers, body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
