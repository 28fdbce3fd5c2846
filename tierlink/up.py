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
import os
import socket
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
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
from resolver.proof import ROUTE as PROOF_ROUTE, ProofRoute
from resolver.shared import Memory
from resolver.trace import Tracer
from resolver.trust import Verifier
from schemas.chain import Trust, trust_document
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.policy import LogPolicy
from schemas.sm2 import SWITCH
from tierlink import embedded, migrations, server
from tierlink.anchor import follow_root, offline
from tierlink.custody import admit_algorithms
from tierlink.log import keeping
from tierlink.settings import NodeSettings, keyring_key, load, private_write

# What the registry answers; everything else is the resolver's.
REGISTRY_PATHS = (
    "/v1/prefixes",
    "/v1/challenges",
    "/v1/identifiers",
    "/v1/links",
    "/v1/trust",
    "/v1/roots",
    "/v1/log",
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
        """Read the environment, and admit the algorithms it names; raise BadInput."""
        node = load(NodeSettings)
        admit_algorithms({SWITCH: node.sm2})
        return cls(node, Settings.load(), load(ResolverSettings))

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
        await _founded(store, keyring, node)
        async with keeping(store, keyring, node.registry, node.node.data_dir, clock) as log:
            app = create_registry(_deps(node, store, keyring, log.policy))
            door = make_protocol(Answers(1), negotiate)  # no answers, the same limits
            beside = partial(_all, _greeting(node, sockets), log.sequencer.run)
            await server.serve(app, door, sockets, beside)


async def _resolver(node: Node, url: str, sockets: list[socket.socket]) -> None:
    async with _store(node, url) as store:
        reading = Resolver(
            Reader(store),
            Verifier(await _trust(store)),
            node.resolver,
            memory=_memory(node.resolver),
        )
        app = create_resolver(reading, routes=_routes(reading))
        async with _following(reading):
            door = make_protocol(reading.answers, negotiate)
            beside = partial(
                _all, _greeting(node, sockets), partial(follow_root, store, reading.verifier)
            )
            await server.serve(cast("ASGIApp", app), door, sockets, beside)


async def _up(node: Node, url: str, sockets: list[socket.socket]) -> None:
    from tierlink.sample.loading import load as load_sample  # noqa: PLC0415  (needs the client, roles do not)

    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(node, url))
        keyring = node.keyring()
        founded = await _founded(store, keyring, node)
        log = await stack.enter_async_context(
            keeping(store, keyring, node.registry, node.node.data_dir, clock)
        )
        loaded = asyncio.Event()
        trust = Trust.parse(_bundle(founded.roots, ()))
        reading = Resolver(
            Reader(store), Verifier(trust), node.resolver, memory=_memory(node.resolver)
        )
        app = Both(
            create_registry(_deps(node, store, keyring, log.policy)),
            cast(
                "ASGIApp",
                create_resolver(
                    reading,
                    routes=_routes(reading),
                    checks=(lambda: "" if loaded.is_set() else "sample: still being loaded",),
                    degraded=(log.amiss,),
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
            await _write_trust(store, node.node.data_dir, log.policy)
            loaded.set()
            _greet(base, node.node)
            await _keep_trust(store, node.node.data_dir, log.policy)

        async with _following(reading):
            door = make_protocol(reading.answers, negotiate)
            follow = partial(follow_root, store, reading.verifier)
            beside = partial(_all, prepare, log.sequencer.run, follow)
            await server.serve(app, door, sockets, beside)


async def _all(*works: Callable[[], Awaitable[None]]) -> None:
    """Do works beside each other until all are done, or one fails and ends the others."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
    return (
        Route("/v1/trace/", tracer.handle),
        Route(PROOF_ROUTE, ProofRoute(reading.prover)),
    )


def _memory(settings: ResolverSettings) -> tuple[Memory, bytes] | None:
    """Return the second cache and the secret of its seals, None where there is none."""
    if settings.redis_url is None or settings.cache_key is None:
        return None
    from resolver.redis_memory import open_memory  # noqa: PLC0415  (an extra)

    secret = settings.cache_key.get_secret_value().encode()
    return open_memory(settings.redis_url.get_secret_value()), secret


@contextlib.asynccontextmanager
async def _following(reading: Resolver) -> AsyncIterator[None]:
    await reading.start()
    try:
        yield
    finally:
        await reading.stop()


def _deps(node: Node, store: Store, keyring: Keyring, policy: LogPolicy) -> Deps:
    seconds = node.registry.recovery_seconds
    return Deps(store, keyring, clock, recovery_seconds=seconds, policy=policy)


# What a founded database is, and the files that tell of it


async def _founded(store: Store, keyring: Keyring, node: Node) -> Founded:
    data_dir, root = node.node.data_dir, offline(node.registry, os.environ)
    async with store.write() as tx:
        founded = await bootstrap.found(tx, keyring, clock(), root)
        if founded.operator_key is not None:
            # Written before the commit: a key that nobody was told of could never be used.
            text = json.dumps({"prefix": ".", "api_key": founded.operator_key}, indent=1)
            private_write(data_dir / "operator.json", text + "\n")
    return founded


async def _trust(store: Store) -> Trust:
    async with store.read() as tx:
        return Trust.parse(_bundle(await prefixes.roots(tx), ()))


def _bundle(
    roots: Sequence[str], delegations: Iterable[str], policy: LogPolicy | None = None
) -> bytes:
    return json.dumps(trust_document(roots, delegations, policy), indent=1).encode()


async def _write_trust(store: Store, data_dir: Path, policy: LogPolicy) -> None:
    """Write trust.json where it says something else: what `tierlink verify` checks against."""
    async with store.read() as tx:
        roots = await prefixes.roots(tx)
        delegations = [token async for page in prefixes.delegated(tx) for token in page]
    document = _bundle(roots, delegations, policy)
    path = data_dir / "trust.json"
    if not path.exists() or path.read_bytes() != document:
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(document)
        unfinished.replace(path)


async def _keep_trust(store: Store, data_dir: Path, policy: LogPolicy) -> None:
    """Follow the delegations for as long as the node runs."""
    while True:
        await asyncio.sleep(TRUST_SECONDS)
        with contextlib.suppress(TierlinkError):
            await _write_trust(store, data_dir, policy)


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
