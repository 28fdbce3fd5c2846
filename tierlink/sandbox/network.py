"""The network: a root, a secondary node, and two enterprises with nodes of their own.

    root        88          the root and the national prefix, which it delegates
    secondary   88.118      joined to root; also holds the companies without a node
    vehicle     88.118.109  joined to secondary
    minerals    88.118.101  joined to secondary

The addresses are part of what the nodes sign, so they are kept in `federation.json` and taken
again. The first start takes three steps, since each node joins one that runs:

    1. the root starts
    2. the secondary node joins it, with an API key of 88
    3. both enterprises join the secondary node, with its API key

Any later start is one step: who joined once needs nobody to start again.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BadInput
from schemas.identifier import Prefix
from tierlink.client import AsyncClient
from tierlink.rootfile import write_versions
from tierlink.settings import private_write

from .process import NodeProcess

HOST, PORT = "127.0.0.1", 8090  # of the root
NATIONAL = Prefix.parse("88")
ROOT, SECONDARY, VEHICLE, MINERALS = "root", "secondary", "vehicle", "minerals"
NAMES = (ROOT, SECONDARY, VEHICLE, MINERALS)
ENTERPRISES = (VEHICLE, MINERALS)

_HOLDERS = {
    ROOT: (NATIONAL, "National top node"),
    SECONDARY: (Prefix.parse("88.118"), "Sample secondary node"),
    VEHICLE: (Prefix.parse("88.118.109"), "曜途商用车有限公司 Yaotu Commercial Vehicles Co., Ltd."),
    MINERALS: (Prefix.parse("88.118.101"), "岚泽锂盐科技有限公司 Lanze Lithium Salts Co., Ltd."),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node is, and which prefix it holds."""

    name: str
    prefix: Prefix
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def api_key(self) -> str:
        """The API key of its operator, who made it at the first start."""
        text = (self.folder / "operator.json").read_text(encoding="utf-8")
        return str(json.loads(text)["api_key"])


class Network:
    """Four nodes under one folder; owned by one event loop."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Open a network, a new one where the folder has none.

        `port` is that of the root, the others follow it; 0 takes free ones, None those that the
        network has. `settings` are further TIERLINK_… variables for each node. Raise BadInput where
        the network has other ports.
        """
        self.folder = folder
        self._settings = dict(settings or {})
        self.address = {
            name: Address(name, _HOLDERS[name][0], chosen, folder / name)
            for name, chosen in zip(NAMES, self._ports(port), strict=True)
        }
        self.nodes = {
            name: NodeProcess(name, item.url, item.folder, self._of(item))
            for name, item in self.address.items()
        }

    def url(self, name: str) -> str:
        """Return the base URL of a node."""
        return self.address[name].url

    def client(self, name: str, api_key: str | None = None) -> AsyncClient:
        """Open a client of a node, by default its operator's."""
        found = self.address[name]
        return AsyncClient(found.url, api_key=api_key or found.api_key)

    @property
    def root_file(self) -> Path:
        """The file of root versions that all but the root are told to trust."""
        return self.folder / "root.txt"

    @property
    def recursive_port(self) -> int:
        """A port for a recursive node beside the four."""
        return max(item.port for item in self.address.values()) + 1

    async def start(self) -> None:
        """Start all; raise NodeFailed, or TierlinkError where one is not let join."""
        if self._joined:
            await together(self.nodes[name].start() for name in NAMES)
            return
        # 1
        root = self.nodes[ROOT]
        await root.start()
        write_versions(self.root_file, _roots(root.folder), over=True)
        # 2
        await self._give_key(SECONDARY, await self._national_key())
        await self.nodes[SECONDARY].start()
        # 3
        for name in ENTERPRISES:
            await self._give_key(name, self.address[SECONDARY].api_key)
        await together(self.nodes[name].start() for name in ENTERPRISES)
        for name in (SECONDARY, *ENTERPRISES):
            self._key_file(name).unlink()  # needed once

    async def stop(self) -> None:
        """End all that run."""
        await together(self.nodes[name].stop() for name in NAMES)

    async def ended(self) -> str:
        """Wait until a node ends that nobody told to; return its name, empty where none runs."""
        waits = {
            asyncio.create_task(node.process.wait()): name
            for name, node in self.nodes.items()
            if node.process is not None and node.process.returncode is None
        }
        if not waits:
            return ""
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return waits[done.pop()]

    # the settings of each node

    def _of(self, address: Address) -> dict[str, str]:
        settings = {
            "TIERLINK_HOST": HOST,
            "TIERLINK_PORT": str(address.port),
            "TIERLINK_PUBLIC_URL": address.url,
            "TIERLINK_PREFIX": str(address.prefix),
            "TIERLINK_SAMPLE": "none",
            "TIERLINK_PEERS_PRIVATE": "1",
            "TIERLINK_DATABASE_POOL": "8",
            "TIERLINK_DRAIN_SECONDS": "0",  # no balancer is before it
            **self._settings,
        }
        if address.name == ROOT:
            return settings
        parent = ROOT if address.name == SECONDARY else SECONDARY
        return settings | {
            "TIERLINK_ROLE": SECONDARY if address.name == SECONDARY else "enterprise",
            "TIERLINK_ORGANISATION": _HOLDERS[address.name][1],
            "TIERLINK_ROOT_FILE": str(self.root_file),
            "TIERLINK_ROOT_URL": self.url(ROOT),
            "TIERLINK_PARENT_URL": self.url(parent),
        }

    # the first start

    @property
    def _joined(self) -> bool:
        return all((self.folder / name / "operator.json").exists() for name in NAMES)

    async def _national_key(self) -> str:
        """Allocate the national prefix at the root, and return an API key of it.

        Asked again, a registry gives the same reply again, for two days.
        """
        prefix, holder = _HOLDERS[ROOT]
        async with self.client(ROOT) as operator:
            view = await operator.allocate(prefix, holder, idempotency_key="federation-88")
        assert view.api_key is not None, "the client refuses a reply without one"
        return view.api_key

    async def _give_key(self, name: str, api_key: str) -> None:
        path = self._key_file(name)
        path.parent.mkdir(mode=0o711, exist_ok=True)
        await asyncio.to_thread(private_write, path, api_key + "\n")
        self.nodes[name].settings["TIERLINK_PARENT_KEY_FILE"] = str(path)

    def _key_file(self, name: str) -> Path:
        return self.folder / name / "parent.key"

    # where they are

    def _ports(self, port: int | None) -> list[int]:
        path = self.folder / "federation.json"
        if path.exists() and (self.folder / ROOT / "operator.json").exists():
            kept = [int(item) for item in json.loads(path.read_bytes())["ports"]]
            if port not in (None, 0, kept[0]):
                raise BadInput(
                    f"the network in {self.folder} begins at port {kept[0]}, which its nodes "
                    "have signed",
                    value=port,
                    fix="choose another TIERLINK_DATA_DIR, or remove the folder",
                )
            return kept
        first = PORT if port is None else port
        ports = list(range(first, first + len(NAMES))) if first else list(_free(len(NAMES)))
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"ports": ports}) + "\n", encoding="utf-8")
        return ports


async def together(works: Iterable[Awaitable[object]]) -> None:
    """Do works beside each other; the first that fails ends the others, and is raised as it is."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _roots(folder: Path) -> list[str]:
    return [str(item) for item in json.loads((folder / "trust.json").read_bytes())["roots"]]


def _free(count: int) -> Iterator[int]:
    """Yield ports of loopback that are free, all at once, so that no two are the same."""
    with ExitStack() as stack:
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind((HOST, 0))
            yield probe.getsockname()[1]
