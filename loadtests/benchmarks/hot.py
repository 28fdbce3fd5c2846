"""Hot resolve: the front door, nginx serving the same bytes as files, a plain FastAPI route."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from . import bodies, harness
from .harness import Contestant, Result, Row, Sample, Settings, Target

CONTESTANTS = harness.HERE.parent / "contestants"
DRAWN = 200_000


def measure(settings: Settings) -> list[Result]:
    """Run the comparison by a power law and evenly, then 304 and HEAD against the plain hit."""
    settings = harness.brisk(settings)
    zipf, even = settings.scratch / "zipf.txt", settings.scratch / "even.txt"
    bodies.write_draws(zipf, settings.identifiers, DRAWN, zipf=True)
    bodies.write_draws(even, settings.identifiers, DRAWN, zipf=False)
    with contextlib.ExitStack() as stack:
        front, plain = (
            stack.enter_context(_python_server(name, settings))
            for name in ("front_door", "fastapi_plain")
        )
        nginx = stack.enter_context(_nginx(settings)) if harness.need("nginx") else None
        return [
            _compare("Hot resolve, Zipf", zipf, front, plain, nginx, settings),
            _compare("Hot resolve, uniform", even, front, plain, nginx, settings),
            _conditional(zipf, front, settings),
            _heads(front, settings),
        ]


def _compare(  # noqa: PLR0917  (three contestants, their title, draws and settings)
    title: str,
    draws: Path,
    front: Contestant,
    plain: Contestant,
    nginx: Contestant | None,
    settings: Settings,
) -> Result:
    contestants = [item for item in (front, nginx, plain) if item is not None]
    for contestant, name in zip(
        contestants,
        ["tierlink front door", "nginx, static files", "FastAPI, prebuilt bytes"]
        if nginx
        else ["tierlink front door", "FastAPI, prebuilt bytes"],
        strict=True,
    ):
        contestant.row = Row(name)
    harness.in_turns(contestants, lambda one: harness.wrk(one, draws, settings), settings)
    targets = [Target("hot / FastAPI", harness.ratio(front.row, plain.row), 12)]
    if nginx is not None:
        targets += [
            Target("hot / nginx", harness.ratio(front.row, nginx.row), 1.4),
            Target(
                "p99 / nginx p99", harness.ratio(front.row, nginx.row, "p99_ms"), 1.5, at_most=True
            ),
        ]
    return Result(title, [item.row for item in contestants], targets)


def _conditional(draws: Path, front: Contestant, settings: Settings) -> Result:
    full, unchanged = harness.each(["200", "304"])
    for _ in range(settings.runs):
        front.row = full
        full.samples.append(harness.wrk(front, draws, settings))
        front.row = unchanged
        unchanged.samples.append(harness.wrk(front, draws, settings, conditional=True))
    targets = [Target("304 / 200", harness.ratio(unchanged, full), 0.9)]
    return Result("Conditional requests", [full, unchanged], targets)


def _heads(front: Contestant, settings: Settings) -> Result:
    """Compare by processor time: wrk cannot read a response to HEAD, the small loop below can."""
    full, heads = harness.each(["GET, small loop", "HEAD, small loop"])
    for _ in range(settings.runs):
        for row, method in ((full, "GET"), (heads, "HEAD")):
            row.samples.append(_loop(front, method, settings))
    targets = [Target("HEAD / GET, by server time", 1 / harness.ratio(heads, full, "cpu_ms"), 0.9)]
    return Result("HEAD", [full, heads], targets)


def _loop(contestant: Contestant, method: str, settings: Settings) -> Sample:
    """Ask for one identifier over all connections at once, round after round, on core 1."""
    host, _, port = contestant.url.rpartition("//")[2].partition(":")
    request = f"{method} {bodies.target(0)} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    sockets = [
        socket.create_connection((host, int(port.rstrip("/")))) for _ in range(settings.connections)
    ]
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    done, times = 0, []
    before, start = harness.cpu_seconds(contestant.process), time.monotonic()
    try:
        while time.monotonic() < start + settings.seconds:
            sent = time.monotonic()
            for one in sockets:
                one.send(request)
            for one in sockets:
                _receive(one, method)
            times.append(time.monotonic() - sent)
            done += len(sockets)
    finally:
        os.sched_setaffinity(0, allowed)
        for one in sockets:
            one.close()
    spent = harness.cpu_seconds(contestant.process) - before
    times.sort()
    return Sample(
        per_second=done / (time.monotonic() - start),
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        cpu_ms=spent * 1e6 / done,
    )


def _receive(one: socket.socket, method: str) -> None:
    """Read one response whole; it may come in pieces."""
    got = one.recv(65_536)
    while b"\r\n\r\n" not in got:
        got += one.recv(65_536)
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{method}: {head[:80]!r}")
    left = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
    while method == "GET" and left > 0:
        left -= len(one.recv(65_536))


@contextlib.contextmanager
def _python_server(name: str, settings: Settings) -> Iterator[Contestant]:
    port = harness.free_port()
    command = harness.python(CONTESTANTS / f"{name}.py", port, settings.identifiers)
    with harness.server(command, port, log=settings.scratch / f"{name}.log") as process:
        yield Contestant(Row(name), f"http://127.0.0.1:{port}", process.pid)


NGINX = """
daemon off; master_process off; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;
worker_rlimit_nofile {files};
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000;
  open_file_cache max={cached} inactive=1h; open_file_cache_valid 1h;
  default_type application/json;
  {temporary}
  server {{ listen 127.0.0.1:{port}; root {scratch}/files; }}
}}
"""


@contextlib.contextmanager
def _nginx(settings: Settings) -> Iterator[Contestant]:
    """Serve the same bodies as files, kept open as far as the limit of open files allows."""
    port, scratch = harness.free_port(), settings.scratch
    for number in range(settings.identifiers):
        path = scratch / "files" / bodies.target(number)[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bodies.body(number))
    files = os.sysconf("SC_OPEN_MAX")
    temporary = " ".join(
        f"{kind}_temp_path {scratch}/nginx-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = NGINX.format(
        scratch=scratch,
        port=port,
        files=files,
        cached=min(settings.identifiers, files - 1500),
        temporary=temporary,
    )
    written = scratch / "nginx.conf"
    written.write_text(text)
    command = [harness.need("nginx"), "-c", written, "-e", scratch / "nginx.log"]
    with harness.server(command, port, log=scratch / "nginx.out") as process:
        yield Contestant(Row("nginx"), f"http://127.0.0.1:{port}", process.pid)
