"""Starts other programs for a test and ends them by their pid, whatever happens.

with running(["redis-server", "--port", str(port)], ready=lambda: accepts(port)) as process: …
"""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(ready: Callable[[], object], seconds: float = 20, what: str = "it") -> None:
    """Poll until `ready` is true; fail the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} was not ready within {seconds} s"
        time.sleep(0.02)


@contextmanager
def running(
    arguments: Sequence[object], *, ready: Callable[[], object], seconds: float = 20, **popen
) -> Iterator[subprocess.Popen]:
    """Run a program until the block ends; its output, if it dies early, is in the failure."""
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=popen.pop("stdout", subprocess.DEVNULL),
        stderr=popen.pop("stderr", subprocess.STDOUT),
        **popen,
    )

    def ready_or_dead() -> bool:
        assert process.poll() is None, f"{arguments[0]} ended with {process.returncode}"
        return bool(ready())

    try:
        wait_for(ready_or_dead, seconds, str(arguments[0]))
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen, seconds: float = 10) -> int:
    """SIGTERM, then SIGKILL for one who does not listen; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
