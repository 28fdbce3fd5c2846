"""The composition root: reads the settings, builds the objects, wires the wings together.

    up         registry and resolver in one process, with an embedded PostgreSQL and the sample
    registry   the authority alone
    resolver   the reader alone, on the same database (or a standby of it)
    migrate    brings the database to the newest schema

The only module that knows both wings. Each function returns an exit code; what goes wrong with
the surroundings (a taken port, a folder out of reach, a database that is away) is a TierlinkError.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from registry import accounts, bootstrap, prefixes
from registry.api.transaction import Deps
from registry.app import create_app as create_registry
from registry.bootstrap import Founded
from registry.config import Settings
from registry.keyring import Keyring
from registry.reader import Reader
from registry.store.engine import Store
from resolver.answers import Answers, boottime
from resolver.app import Resolver, create_app as create_resolver
from resolver.asgi import Route
from resolver.config import ResolverSettings
from resolver.edge import make_protocol
from resolver.native import negotiate
from resolver.trace import Tracer
from resolver.trust import Verifier
from schemas.chain import Trust, trust_document
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from tierlink import embedded, migrations, server
from tierlink.settings import NodeSettings, keyring_key, load, private_write

# What the registry answers; everything else is the resolver's.
REGISTRY_PATHS = (
    "/v1/prefixes",
    "/v1/challenges",
    "/v1/identifiers",
    "/v1/links",
    "/v1/trust",
    "/v1/changes",
    "/v1/source",
    "/docs",
    "/openapi.json",
)
TRUST_SECONDS = 1.0  # between two looks whether trust.json is out of date


def clock() -> int:
    """Return Unix seconds."""
    return int(time.time())


def say(line: str) -> None:
    """Tell the operator, at once."""
    print(line, flush=True)  # noqa: T201  (the foreground command talks on standard output)


@dataclass(frozen=True, slots=True)
class Node:
    """The settings of all parts, read once."""

    node: NodeSettings
    registry: Settings
    resolver: ResolverSettings

    @classmethod
    def read(cls) -> Node:
        """Read the environment; raise BadInput."""
        return cls(load(NodeSettings), Settings.load(), load(ResolverSettings))

    def keyring(self) -> Keyring:
        """Return the keyring under the given key, or under one kept in the data folder."""
        return Keyring(self.registry.kek or keyring_key(self.node.data_dir))

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of the database; where none is given, run the embedded one."""
        if self.registry.url is not None:
            self.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield self.registry.url
            return
        started = embedded.start(self.node.data_dir, log=say)
        try:
            yield started.url
        finally:
            embedded.stop(started)


def migrate() -> int:
    """Bring the database to the newest schema."""
    node = Node.read()
    with node.database() as url:
        migrations.upgrade(url)
    say("the database is at the newest schema")
    return 0


def up() -> int:
    """Run everything in this process until told to stop."""
    return _run(_up, migrated=True)


def registry() -> int:
    """Run the registry until told to stop."""
    return _run(_registry)


def resolver() -> int:
    """Run a resolver until told to stop."""
    return _run(_resolver)


def _run(
    role: Callable[[Node, str, list[socket.socket]], Coroutine[None, None, None]],
    *,
    migrated: bool = False,
) -> int:
    server.log_plainly()
    node = Node.read()
    sockets = server.listen(node.node.host, node.node.port)
    try:
        with node.database() as url:
            if migrated:
                migrations.upgrade(url)
            uvloop.run(role(node, url, sockets))
    finally:
        for bound in sockets:
            bound.close()
    return 0


async def _registry(node: Node, url: str, sockets: list[socket.socket]) -> None:
    async with _store(node, url) as store:
        keyring = node.keyring()
        await _founded(store, keyring, node.node.data_dir)
        app = create_registry(Deps(store, keyring, clock))
        door = make_protocol(Answers(1), negotiate)  # no answers, the same limits
        await server.serve(app, door, sockets, _greeting(node, sockets))


async def _resolver(node: Node, url: str, sockets: list[socket.socket]) -> None:
    async with _store(node, url) as store:
        reading = Resolver(Reader(store), Verifier(await _trust(store)), node.resolver)
        app = create_resolver(reading, routes=_routes(reading))
        async with _following(reading):
            door = make_protocol(reading.answers, negotiate)
            await server.serve(cast("ASGIApp", app), door, sockets, _greeting(node, sockets))


async def _up(node: Node, url: str, sockets: list[socket.socket]) -> None:
    from tierlink.sample.loading import load as load_sample  # noqa: PLC0415  (needs the client, roles do not)

    async with _store(node, url) as store:
        keyring = node.keyring()
        founded = await _founded(store, keyring, node.node.data_dir)
        loaded = asyncio.Event()
        trust = Trust.parse(_bundle(founded.root, ()))
        reading = Resolver(Reader(store), Verifier(trust), node.resolver)
        app = Both(
            create_registry(Deps(store, keyring, clock)),
            cast(
                "ASGIApp",
                create_resolver(
                    reading,
                    routes=_routes(reading),
                    checks=(lambda: "" if loaded.is_set() else "sample: still being loaded",),
                ),
            ),
        )

        async def prepare() -> None:
            operator = _operator_key(node.node.data_dir)
            base = server.url_of(sockets[0], node.node.host)
            if node.node.sample != "none":
                await load_sample(
                    base, operator, node.node.data_dir, recover=partial(_new_key, store), say=say
                )
            await _write_trust(store, node.node.data_dir)
            loaded.set()
            _greet(base, node.node)
            await _keep_trust(store, node.node.data_dir)

        async with _following(reading):
            door = make_protocol(reading.answers, negotiate)
            await server.serve(app, door, sockets, prepare)


class Both:
    """One ASGI application of two: the path decides."""

    def __init__(self, registry_app: ASGIApp, resolver_app: ASGIApp) -> None:
        self._registry = registry_app
        self._resolver = resolver_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to whom it belongs."""
        path = scope.get("path", "")
        ours = any(path == item or path.startswith(f"{item}/") for item in REGISTRY_PATHS)
        await (self._registry if ours else self._resolver)(scope, receive, send)


@contextlib.asynccontextmanager
async def _store(node: Node, url: str) -> AsyncIterator[Store]:
    store = Store.open(url, pool=node.registry.database_pool)
    try:
        yield store
    finally:
        await store.close()


def _routes(reading: Resolver) -> tuple[Route, ...]:
    tracer = Tracer(reading.source, reading.verifier, boottime)
    return (Route("/v1/trace/", tracer.handle),)


@contextlib.asynccontextmanager
async def _following(reading: Resolver) -> AsyncIterator[None]:
    await reading.start()
    try:
        yield
    finally:
        await reading.stop()


# What a founded database is, and the files that tell of it


async def _founded(store: Store, keyring: Keyring, data_dir: Path) -> Founded:
    async with store.write() as tx:
        founded = await bootstrap.found(tx, keyring, clock())
        if founded.operator_key is not None:
            # Written before the commit: a key that nobody was told of could never be used.
            text = json.dumps({"prefix": ".", "api_key": founded.operator_key}, indent=1)
            private_write(data_dir / "operator.json", text + "\n")
    return founded


async def _trust(store: Store) -> Trust:
    async with store.read() as tx:
        return Trust.parse(_bundle(await prefixes.root(tx), ()))


def _bundle(root: str, delegations: Iterable[str]) -> bytes:
    return json.dumps(trust_document([root], delegations), indent=1).encode()


async def _write_trust(store: Store, data_dir: Path) -> None:
    """Write trust.json where it says something else: what `tierlink verify` checks against."""
    async with store.read() as tx:
        root = await prefixes.root(tx)
        delegations = [token async for page in prefixes.delegated(tx) for token in page]
    document = _bundle(root, delegations)
    path = data_dir / "trust.json"
    if not path.exists() or path.read_bytes() != document:
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(document)
        unfinished.replace(path)


async def _keep_trust(store: Store, data_dir: Path) -> None:
    """Follow the delegations for as long as the node runs."""
    while True:
        await asyncio.sleep(TRUST_SECONDS)
        with contextlib.suppress(TierlinkError):
            await _write_trust(store, data_dir)


async def _new_key(store: Store, prefix: Prefix) -> str:
    """Make an API key for a prefix of the sample whose first key was lost on its way."""
    async with store.write() as tx:
        return (await accounts.create_key(tx, prefix, clock(), label="sample")).text


def _operator_key(data_dir: Path) -> str:
    path = data_dir / "operator.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["api_key"])
    except (OSError, ValueError, KeyError) as err:
        raise TierlinkError(
            f"the operator's API key is not in {path}",
            fix="start with the TIERLINK_DATA_DIR that this database was founded with",
        ) from err


def _greeting(node: Node, sockets: list[socket.socket]) -> Callable[[], Awaitable[None]]:
    async def greet() -> None:
        say(f"tierlink ready {server.url_of(sockets[0], node.node.host)}")

    return greet


def _greet(base: str, node: NodeSettings) -> None:
    """Print what to try, then the line that scripts wait for."""
    sample = node.data_dir / "sample.json"
    if sample.exists():
        examples = json.loads(sample.read_text(encoding="utf-8"))["examples"]
        say(
            f"""
  try   curl -s {base}/{examples["pack"]}
        curl -s '{base}/{examples["covered_serial"]}?format=linkset'
        tierlink resolve {examples["pack"]}
        tierlink trace {examples["vehicle"]} --direction upstream
        tierlink trace {examples["material_batch"]} --direction downstream
        curl -s {base}/{examples["pack"]} | tierlink verify -
  see   {base}/{examples["vehicle"]}   in a browser
        {base}/docs                    the API
"""
        )
    say(f"tierlink ready {base}")
