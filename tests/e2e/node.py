"""A whole node as its users start it: `tierlink up` in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.servers import free_port

TIERLINK = [sys.executable, "-m", "tierlink"]
START_SECONDS = 90


class Node:
    """A running node: its address, its folder, and what it printed so far."""

    def __init__(self, data_dir: Path, host: str, settings: dict[str, str], command=None) -> None:
        self.data_dir = data_dir
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
        return subprocess.run(
            [*TIERLINK, *arguments],
            env={**self.environment, "NO_COLOR": "1", "COLUMNS": "160"},
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            timeout=120,
        )


@contextmanager
def node(data_dir: Path, *, host: str = "127.0.0.1", command=None, **settings: str):
    """Run a node until the block ends."""
    running = Node(data_dir, host, settings, command)
    try:
        yield running.start()
    finally:
        if running.process is not None:
            if running.process.poll() is None:
                running.stop()
            running.process.stdout.close()
