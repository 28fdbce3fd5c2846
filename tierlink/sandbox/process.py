"""One node of the network: a process, its folder, and what it says, in `node.log`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import TierlinkError

START_SECONDS = 120.0
STOP_SECONDS = 30.0
_LOOK = 0.05  # seconds between two looks into the log
_SHOWN = 12  # lines of the log that a failure quotes


class NodeFailed(TierlinkError):
    """A node of the network ended, or did not come to serve."""

    code = "node_failed"
    title = "A node of the network failed"


class NodeProcess:
    """A node that can be started, stopped, and started again; owned by one event loop.

    It is a session of its own, so that Ctrl-C reaches the network alone, which ends its nodes in
    order; where this process ends without that, so does the node (`tethered`). What it prints goes
    to a file: it needs nobody who listens.
    """

    def __init__(self, name: str, url: str, folder: Path, settings: Mapping[str, str]) -> None:
        """Describe it; `settings` are TIERLINK_… variables, those around it are not handed on."""
        self.name = name
        self.url = url
        self.folder = folder
        self.settings = dict(settings)
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """The file of what it says."""
        return self.folder / "node.log"

    @property
    def pid(self) -> int:
        """The process; raise NodeFailed where none runs."""
        if self.process is None or self.process.returncode is not None:
            raise NodeFailed(f"the node {self.name} does not run", value=self.name)
        return self.process.pid

    async def start(self) -> None:
        """Start it and wait until it serves; raise NodeFailed with what it said."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        self.process = await self._spawn()
        try:
            async with asyncio.timeout(START_SECONDS):
                while f"\ntierlink ready {self.url}\n" not in f"\n{self._said(begin)}":
                    if self.process.returncode is not None:
                        raise self._failed(f"ended with {self.process.returncode}", begin)
                    await asyncio.sleep(_LOOK)
        except TimeoutError as err:
            raise self._failed(f"was not ready in {START_SECONDS:.0f} s", begin) from err

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, by force where it does not end by itself; return its exit code."""
        process = self.process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # one that is stopped hears nothing else
        try:
            return await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            return await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TIERLINK_")}
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tierlink.sandbox.tethered",
                "up",
                env={**environment, "TIERLINK_DATA_DIR": str(self.folder), **self.settings},
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )

    def _said(self, begin: int) -> str:
        with self.log.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _failed(self, what: str, begin: int) -> NodeFailed:
        said = "\n".join(self._said(begin).splitlines()[-_SHOWN:])
        return NodeFailed(
            f"the node {self.name} {what}:\n{said}", value=self.name, fix=f"see {self.log}"
        )
