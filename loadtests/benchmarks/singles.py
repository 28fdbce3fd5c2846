"""One registration at a time: client-signed, logged, against pgbench inserting as many bytes.

One node (`tierlink up`, its log running) on core 0, one client over one connection on core 1.
pgbench inserts a row of the same size with the same keys into the same database: one statement,
one commit, one fsync, over one connection; so it has the least that a registration could cost.
A registration writes two rows, record and change, compares key and chain, and comes by HTTP.
Neither client does more than it must: a request is one packet, its answer is looked at once.
"""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from tierlink.embedded.account import choose
from tierlink.embedded.cluster import DATABASE, ROLE, environment
from tierlink.embedded.wheel import binaries

from . import harness, parts
from .harness import Contestant, Result, Row, Sample, Settings, Target
from .parts import Holder, node

MOST = 10_000  # records that are signed beforehand for a turn

_HEAD = (
    "POST /v1/identifiers HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\n"
    "content-type: application/json\r\ncontent-length: "
)

_TABLE = "CREATE TABLE bench_single (LIKE identifiers INCLUDING INDEXES)"
# Columns as the registry fills them; what is random makes the keys unique.
_INSERT = """\\set n random(1, 9000000000000000)
INSERT INTO bench_single ({columns}) VALUES ({values});
"""


def measure(settings: Settings) -> list[Result]:
    """Register one after another, in turns with pgbench."""
    ours = Row("register one, client-signed, logged", unit="records/s")
    bare = Row("pgbench, one insert of the same size", unit="rows/s")
    with node(settings) as (contestant, data_dir):
        holder = Holder(contestant.url, data_dir)
        holder.register(["B-000000"])
        database = _Bare(data_dir, settings.scratch)
        database.prepare()
        for turn in range(max(2, settings.runs)):
            ours.samples.append(_register(contestant, holder, f"O{turn}", settings.seconds))
            bare.samples.append(database.insert(settings.seconds))
    ratio = harness.ratio(ours, bare)
    return [
        Result(
            "Single registration",
            [ours, bare],
            [Target("single register / pgbench insert", ratio, 0.3)],
            [
                f"a row has {database.width:,} bytes of text",
                "one client and one commit each: of two rows (record, change) against one row",
            ],
        )
    ]


def _register(contestant: Contestant, holder: Holder, name: str, seconds: int) -> Sample:
    address = urlsplit(contestant.url)
    head = _HEAD.format(address.netloc, holder.headers["authorization"])
    lines = (holder.line(f"{name}-{number:06d}") for number in range(MOST))
    requests = [f"{head}{len(line)}\r\n\r\n".encode() + line for line in lines]
    times: list[float] = []
    before = harness.cpu_seconds(contestant.process)
    with parts.on_core(1), socket.create_connection((address.hostname, address.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        until = time.monotonic() + seconds
        for request in requests:
            began = time.monotonic()
            if began >= until:
                break
            connection.sendall(request)
            answer = _answer(connection)
            times.append(time.monotonic() - began)
            if not answer.startswith(b"HTTP/1.1 201 "):
                raise RuntimeError(f"{answer[:600]!r}")
    spent = harness.cpu_seconds(contestant.process) - before
    times.sort()
    return Sample(
        len(times) / sum(times),
        times[len(times) // 2] * 1000,
        times[len(times) * 99 // 100] * 1000,
        spent * 1e6 / len(times),
    )


def _answer(connection: socket.socket) -> bytes:
    """Receive one response, which says its length."""
    data = b""
    while part := connection.recv(65_536):
        data += part
        head, end, body = data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) >= int(length):
            return data
    raise RuntimeError("the server closed the connection")


class _Bare:
    """The node's own database, by the programs that came with it."""

    def __init__(self, data_dir: Path, scratch: Path) -> None:
        self._programs = binaries(choose(data_dir / "pg"), data_dir)
        socket = (data_dir / "pg" / "postmaster.pid").read_text().splitlines()[4]
        self._where = ["-h", socket, "-U", ROLE]
        self._script = scratch / "insert.sql"
        self.width = 0

    def prepare(self) -> None:
        """Make the table, and the statement after the row that the registry wrote last."""
        self._psql(_TABLE)
        columns = self._psql(
            "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute"
            " WHERE attrelid = 'bench_single'::regclass AND attnum > 0 AND NOT attisdropped"
        ).split()
        quoted = ", ".join(f"quote_nullable({name})" for name in columns)
        row = self._psql(
            f"SELECT concat_ws(chr(1), {quoted}) FROM identifiers"  # noqa: S608  (our own columns)
            " WHERE identifier LIKE '%B-000000'"
        )
        values = row.split("\x01")
        self.width = sum(map(len, values))
        at = columns.index("identifier")
        values[at] = "'88.77/' || lpad(:n::text, 16, '0')"
        for name, value in zip(columns, values, strict=True):
            # Where a digest is unique, this one has to be as well, at the same length.
            if "digest" in name or "hash" in name:
                values[columns.index(name)] = f"lpad(:n::text, {len(value) - 2}, '0')"
        text = _INSERT.format(columns=", ".join(columns), values=", ".join(values))
        self._script.write_text(text)

    def insert(self, seconds: int) -> Sample:
        """Insert one row after another for the length of a turn; the database is on core 0."""
        command = [self._programs / "pgbench", "-n", "-c1", "-j1", f"-T{seconds}", "-M", "prepared"]
        command += ["-f", self._script, *self._where, DATABASE]
        done = subprocess.run(
            harness.pinned(command, 1),
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        if done.returncode or found is None:
            raise RuntimeError(f"pgbench failed: {done.stderr[-1000:]}")
        each = 1000 / float(found[1])
        return Sample(float(found[1]), each, 0, 0)

    def _psql(self, sql: str) -> str:
        command = [self._programs / "psql", *self._where, "-d", DATABASE, "-XAtqc", sql]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment()
        )
        return done.stdout.strip()
