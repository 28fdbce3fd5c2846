"""From figures to exit codes, and the bounds of what may be asked for."""

import asyncio
import re
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from loadtests import openloop, run
from loadtests.arrivals import Figures
from loadtests.budgets import EXCEEDED, VOID, WITHIN, Budget, Seen, percentile
from loadtests.histogram import Histogram
from loadtests.processes import is_here


@pytest.mark.parametrize(
    ("seen", "complaints"),
    [
        (Seen(100, 0, 9, 19), []),
        (Seen(100, 1, 9, 19), []),
        (Seen(100, 2, 9, 19), ["errors 0.02 > 0.01"]),
        (Seen(100, 0, 11, 21), ["p95 ms 11 > 10", "p99 ms 21 > 20"]),
        (Seen(0, 0, 0, 0), ["nothing was asked"]),
    ],
)
def test_budgets(seen, complaints):
    assert Budget(10, 20, 0.01).exceeded(seen) == complaints


def test_no_limit_is_none():
    assert Budget().exceeded(Seen(1, 0, 10**6, 10**6)) == []
    assert Budget().exceeded(Seen(100, 1, 0, 0)) == ["errors 0.01 > 0"]


def test_percentiles_of_counts():
    assert percentile({10: 98, 500: 2}, 0.95) == 10
    assert percentile({500: 2, 10: 98}, 0.99) == 500
    assert percentile({}, 0.99) == 0


def figures(latency_ms, lag_ms=0.01, **failures):
    found = Figures(1.0, failures=Counter(failures))
    found.latency = Histogram(value * 1000 for value in latency_ms)
    found.lag = Histogram([lag_ms * 1000])
    found.offered = found.in_time = len(latency_ms)
    return found


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (figures([5] * 100), WITHIN),
        (figures([50] * 100), EXCEEDED),
        (figures([5] * 98 + [50] * 2), EXCEEDED),
        (figures([50] * 100, lag_ms=40), VOID),  # the generator's own lateness
        (figures([5] * 100, lag_ms=4), WITHIN),
        (figures([50] * 100, lag_ms=6), EXCEEDED),  # late, but not by half
        (figures([5] * 100, closed=1), EXCEEDED),
        (figures([50] * 100, lag_ms=40, closed=1), EXCEEDED),
        (figures([]), EXCEEDED),
    ],
)
def test_an_open_loop_is_judged(given, code):
    assert openloop.judge(Budget(p99_ms=20), given) == code


def test_a_growing_queue_does_not_hold():
    given = figures([5] * 100)
    given.in_time = 92  # eight were on the connections when the time was over
    assert openloop.holds(Budget(p99_ms=20), given, connections=8) == (WITHIN, "")
    given.in_time = 91
    assert openloop.holds(Budget(p99_ms=20), given, connections=8) == (EXCEEDED, "a queue grows")


@contextmanager
def node(delay):
    """A server in a thread: one request at a time on all connections, each takes `delay` s."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    found = {}

    async def serve():
        turn, connected = asyncio.Lock(), set()

        async def connection(reader, writer):
            connected.add(asyncio.current_task())
            try:
                while await reader.readuntil(b"\r\n\r\n"):
                    async with turn:
                        await asyncio.sleep(delay)
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        found["port"] = server.sockets[0].getsockname()[1]
        found["stop"] = asyncio.Event()
        ready.set()
        await found["stop"].wait()
        server.close()
        await asyncio.gather(*connected)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield f"http://127.0.0.1:{found['port']}"
    finally:
        loop.call_soon_threadsafe(found["stop"].set)
        thread.join(5)
        loop.close()


@pytest.fixture
def paths(tmp_path):
    file = tmp_path / "paths"
    file.write_text("/88.1/A\n/88.1/B 200\n")
    return ["--paths", file, "--connections", 8, "--warm-up", 0]


def open_loop(*given):
    return openloop.main([str(word) for word in given])


def test_thresholds_become_the_exit_code(paths, tmp_path, capsys):
    json = tmp_path / "figures.json"
    with node(delay=0.1) as url:  # so that no lag of this generator is half of it
        common = ["--host", url, *paths, "--rate", 5, "--seconds", 0.6]
        assert open_loop(*common, "--check-p99", 5000, "--json", json) == WITHIN
        assert '"p99.9"' in json.read_text()
        assert open_loop(*common, "--check-p99", 50) == EXCEEDED
    said = capsys.readouterr()
    assert "latency" in said.out
    assert "failed: p99 ms" in said.err


def test_a_wrong_status_fails(tmp_path):
    file = tmp_path / "paths"
    file.write_text("/88.1/A 404\n")
    with node(delay=0) as url:
        given = ["--host", url, "--paths", file, "--rate", 50, "--seconds", 0.2, "--warm-up", 0]
        assert open_loop(*given) == EXCEEDED
        assert open_loop(*given, "--check-errors", 1) == WITHIN


def test_a_ramp_finds_the_knee(paths, capsys):
    with node(delay=0.01) as url:  # 100 per second
        common = ["--host", url, *paths, "--ramp", "40:440:200", "--seconds", 0.25]
        assert open_loop(*common) == WITHIN
        assert "knee: 40/s" in capsys.readouterr().out
        assert open_loop(*common, "--check-knee", 200) == EXCEEDED


def test_nobody_there(paths):
    assert open_loop("--host", "http://127.0.0.1:1", *paths) == 2


@pytest.mark.parametrize(
    "given",
    [
        ["--host", "http://192.0.2.7:8088"],
        ["--host", "http://example.com"],
        ["--host", "https://127.0.0.1"],
        ["--rate", "1e9"],
        ["--seconds", "0"],
        ["--ramp", "9:1:1"],
        ["--check-knee", "5"],
    ],
)
def test_an_open_loop_out_of_bounds_is_refused(given, capsys):
    with pytest.raises(SystemExit) as ended:
        openloop.arguments(given)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ["--host", "http://192.0.2.7:8088"],
        ["--time", "86401"],
        ["--users", "10001"],
        ["--processes", "0"],
        ["--records", "0"],
        ["--misses", "1.5"],
        ["--check-hold", "3"],
        ["--shape", "step", "--time", "39"],
    ],
)
def test_a_load_out_of_bounds_is_refused(given, capsys):
    with pytest.raises(SystemExit) as ended:
        run.arguments(given)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_another_machine_needs_a_word():
    assert run.arguments(["--host", "http://192.0.2.7", "--elsewhere"]).elsewhere
    assert openloop.arguments(["--host", "http://192.0.2.7", "--elsewhere"]).elsewhere


def test_the_command_of_the_container_is_one():
    compose = yaml.safe_load((Path(run.HERE).parent / "docker-compose.yml").read_text())
    python, script, *given = compose["services"]["load"]["command"]
    assert (python, script) == ("python", "loadtests/run.py")
    assert run.arguments(given).identifiers is not None


def test_what_the_guide_runs_can_be_run():
    page = (run.HERE / "README.md").read_text(encoding="utf-8")
    for given in re.findall(r'^\$ make load ARGS="([^"]*)"', page, re.MULTILINE):
        run.arguments(given.split())
    for given in re.findall(r"loadtests/openloop.py (--[^#\n]*)", page):
        openloop.arguments(given.split())
    for name in re.findall(r"`([a-z0-9_]+\.py)`", page):
        assert (run.HERE / name).exists(), name


def test_without_identifiers_there_is_no_load(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TIERLINK_DATA_DIR", str(tmp_path))
    assert run.main([]) == 2
    assert "make up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8088", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", True),
        ("http://127.0.0.1.example.com", False),
        ("http://0.0.0.0", False),
        ("", False),
    ],
)
def test_what_is_this_machine(url, here):
    assert is_here(url) is here
