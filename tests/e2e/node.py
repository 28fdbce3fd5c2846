"""A whole node as its users start it: `tierlink up` in a process of its own."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import httpx

from tests.e2e import warm
from tests.fixtures_pg import short_folder
from tests.servers import free_port

TIERLINK = [sys.executable, "-m", "tierlink"]
START_SECONDS = 90


class Node:
    """A running node: its address, its folder, and what it printed so far.

    A plain one begins with a copy of what one node of this run has founded, unless it is `fresh`.
    """

    def __init__(
        self, data_dir: Path, host: str, settings: dict[str, str], command=None, *, fresh=False
    ) -> None:
        self.data_dir = data_dir
        plain = command is None and settings.keys() <= {"TIERLINK_SAMPLE"}
        self._seed = settings.get("TIERLINK_SAMPLE", "") if plain and not fresh else None
        self.port = free_port()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("TIERLINK_")},
            "TIERLINK_HOST": host,
            "TIERLINK_PORT": str(self.port),
            "TIERLINK_DATA_DIR": str(data_dir),
            **settings,
        }
        self.command = command or [*TIERLINK, "up"]
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self, seconds: float = START_SECONDS) -> "Node":
        """Start and wait for the line that says it is ready."""
        if self._seed is not None and not self.data_dir.exists() and self.data_dir.parent.exists():
            _copy(_founded(self._seed), self.data_dir)
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        ready = threading.Event()

        def read() -> None:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                if line.rstrip("\n") == f"tierlink ready {self.url}":
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        assert ready.wait(seconds), self.said
        assert f"tierlink ready {self.url}" in self.lines, self.said
        return self

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal to the node alone and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def sample(self) -> dict:
        return json.loads((self.data_dir / "sample.json").read_text())

    def key_of(self, prefix: str) -> str:
        return next(e["api_key"] for e in self.sample()["enterprises"] if e["prefix"] == prefix)

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=10, **options)

    def cli(self, *arguments: str, stdin: str | bytes | None = None) -> subprocess.CompletedProcess:
        """Run the command line against this node."""
        return warm.call(
            arguments,
            {**self.environment, "NO_COLOR": "1", "COLUMNS": "160"},
            stdin.encode() if isinstance(stdin, str) else stdin,
            120,
        )


@cache
def _founded(sample: str) -> Path:
    """Let a node found itself and load a sample; return its folder, which ends with the tests."""
    stack = ExitStack()
    atexit.register(stack.close)
    folder = stack.enter_context(short_folder()) / "data"
    with node(folder, fresh=True, **({"TIERLINK_SAMPLE": sample} if sample else {})) as running:
        assert running.stop() == 0
    return folder


def _copy(founded: Path, data_dir: Path) -> None:
    """Copy the folder of a node that has ended, owners too; its files name each other by path."""
    subprocess.run(["cp", "-a", founded, data_dir], check=True)
    sample = data_dir / "sample.json"
    if sample.exists():
        sample.write_text(sample.read_text().replace(str(founded), str(data_dir)))


@contextmanager
def node(data_dir: Path, *, host: str = "127.0.0.1", command=None, fresh=False, **settings: str):
    """Run a node until the block ends."""
    running = Node(data_dir, host, settings, command, fresh=fresh)
    try:
        yield running.start()
    finally:
        if running.process is not None:
            if running.process.poll() is None:
                running.stop()
            running.process.stdout.close()
