"""What every benchmark needs: servers on a core of their own, a load on the other, ratios.

Two contestants are only ever compared within one run, in turns (A B C A B C …): the machine is
shared and its speed drifts, a ratio of neighbours does not.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DRAWS = HERE.parent / "wrk" / "draws.lua"
BATCHES = HERE.parent / "wrk" / "batch.lua"
TWO_CORES = 2
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Settings:
    """How long and how hard; the same for every contestant of a run."""

    runs: int = 2
    seconds: int = 5
    connections: int = 64
    identifiers: int = 100_000
    scratch: Path = Path()
    growth: int = 500_000  # identifiers of the large registry


def brisk(settings: Settings) -> Settings:
    """Return as long a comparison in more and shorter turns.

    A shared machine is fast or slow for seconds at a time; neighbours are to see the same of it.
    """
    return replace(settings, runs=2 * settings.runs, seconds=max(1, settings.seconds // 2))


@dataclass(frozen=True)
class Sample:
    """One run against one contestant."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of the server, per 1,000 requests
    failed: int = 0


@dataclass
class Row:
    """A line of the table: the medians of one contestant, and what it has to reach."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    unit: str = "requests/s"
    notes: list[str] = field(default_factory=list)

    def median(self, of: str) -> float:
        """Return the median of one figure over the runs."""
        return statistics.median(getattr(sample, of) for sample in self.samples)


@dataclass(frozen=True)
class Target:
    """A ratio that is promised: `actual` against `bound`."""

    what: str
    actual: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Tell whether the promise was kept in this run."""
        return self.actual <= self.bound if self.at_most else self.actual >= self.bound


@dataclass(frozen=True)
class Result:
    """What one benchmark module found."""

    title: str
    rows: Sequence[Row]
    targets: Sequence[Target] = ()
    remarks: Sequence[str] = ()


@dataclass
class Contestant:
    """A server that is up: its root URL and its process."""

    row: Row
    url: str
    process: int


def pinned(command: Sequence[object], core: int | None) -> list[str]:
    """Return the command bound to one core, where there are two and a tool for it."""
    words = [str(word) for word in command]
    if core is not None and (os.cpu_count() or 1) >= TWO_CORES and shutil.which("taskset"):
        return ["taskset", "-c", str(core), *words]
    return words


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(
    command: Sequence[object],
    port: int,
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    core: int | None = 0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on a core, or on all, until the block ends; its output is in `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command, core),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        )
    try:
        _wait(process, port, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server did not start: {log.read_text(errors='replace')}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)


def python(script: Path, *arguments: object) -> list[object]:
    """Return the command that runs a script with this interpreter."""
    return [sys.executable, script, *arguments]


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process and its children so far."""
    total = 0
    for pid in (process, *_children(process)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def wrk(
    contestant: Contestant,
    draws: Path,
    settings: Settings,
    *,
    conditional: bool = False,
    batch: int = 0,
) -> Sample:
    """Load a contestant over keep-alive connections; any other status than 2xx or 3xx fails.

    With `batch` the draws are identifiers, asked for so many at a time, and counted each.
    """
    command = ["wrk", "-t1", f"-c{settings.connections}", f"-d{settings.seconds}s"]
    command += ["--timeout", "10s", "-s", str(BATCHES if batch else DRAWS), contestant.url]
    environment = {
        **os.environ,
        "TIERLINK_DRAWS": str(draws),
        "TIERLINK_CONDITIONAL": "1" if conditional else "0",
        "TIERLINK_BATCH": str(batch),
    }
    before = cpu_seconds(contestant.process)
    done = subprocess.run(
        pinned(command, 1), env=environment, capture_output=True, text=True, check=True
    )
    spent = cpu_seconds(contestant.process) - before
    found = _result(done.stdout)
    if found["refused"] or not found["requests"]:
        raise RuntimeError(
            f"{contestant.row.name}: {found['requests']} answers, {found['refused']} of them"
            f" errors, {found['failed']} requests failed"
        )
    return _sample(found, spent, batch or 1)


def loop(command: Sequence[object]) -> Sample:
    """Run a contestant that asks by itself, on core 0, and prints the line that wrk prints too."""
    done = subprocess.run(
        pinned(command, 0),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[1]} failed: {done.stderr[-2000:]}")
    found = _result(done.stdout)
    return _sample(found, found["cpu"] / 1e6, 1)


def _result(output: str) -> dict[str, int]:
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


def _sample(found: Mapping[str, int], spent: float, each: int) -> Sample:
    count = found["requests"] * each
    return Sample(
        per_second=count / found["duration"] * 1e6,
        p50_ms=found["p50"] / 1000,
        p99_ms=found["p99"] / 1000,
        cpu_ms=spent * 1e6 / count,
        failed=found.get("failed", 0),
    )


def in_turns(
    contestants: Sequence[Contestant],
    load: Callable[[Contestant], Sample],
    settings: Settings,
) -> None:
    """Load each contestant in turn, `runs` times."""
    for _ in range(settings.runs):
        for contestant in contestants:
            contestant.row.samples.append(load(contestant))


def ratio(ours: Row, theirs: Row, of: str = "per_second") -> float:
    """Return the median of the ratios of neighbours in a run."""
    pairs = zip(ours.samples, theirs.samples, strict=True)
    return statistics.median(getattr(a, of) / getattr(b, of) for a, b in pairs)


def need(program: str) -> str | None:
    """Return the path of a program; system folders that are not in PATH count too."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def each(names: Sequence[str]) -> list[Row]:
    """Return an empty row for each name."""
    return [Row(name) for name in names]
