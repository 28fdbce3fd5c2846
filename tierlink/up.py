"""The composition root: reads the settings, builds the objects, wires the wings together.

    up         registry and resolver in one process, with an embedded PostgreSQL and the sample;
               of role recursive (`tierlink.recursive`) the resolver alone, without a database
    registry   the authority alone
    migrate    brings the database to the newest schema

The reader alone, on the same database or a standby of it, is in `tierlink.resolving`, and does not
wait for the modules of a registry. Each function returns an exit code; what goes wrong with
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
    Callable,
    Coroutine,
)
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from registry import accounts, bootstrap, canary, prefixes
from registry.api.transaction import Deps
from registry.app import create_app as create_registry
from registry.bootstrap import Founded
from registry.keyring import Keyring
from registry.reader import Reader
from registry.store.engine import Store
from registry.verifiers import Verifiers
from resolver.answers import Answers, boottime
from resolver.app import Resolver, create_app as create_resolver
from resolver.edge import make_protocol
from resolver.metrics import Metrics
from resolver.native import negotiate
from resolver.trust import Verifier
from schemas.chain import Trust
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.policy import LogPolicy
from tierlink import collecting, migrations, server
from tierlink.anchor import follow_root, offline
from tierlink.database import opened
from tierlink.ending import Ending
from tierlink.federating import Speaker, deliverer, going_on, membership, works
from tierlink.housekeeping import Measured, housekeeper
from tierlink.log import keeping
from tierlink.neighbourhood import neighbourhood
from tierlink.node import Node, say
from tierlink.paths import REGISTRY_PATHS
from tierlink.place import RECURSIVE
from tierlink.resolving import bundle, following, greeting, memory, routes, together
from tierlink.settings import NodeSettings, private_write

TRUST_SECONDS = 1.0  # between two looks whether trust.json is out of date


def clock() -> int:
    """Return Unix seconds."""
    return int(time.time())


def migrate() -> int:
    """Bring the database to the newest schema."""
    node = Node.read()
    with node.database() as url:
        migrations.upgrade(url)
    say("the database is at the newest schema")
    return 0


def up(role: str | None = None) -> int:
    """Run everything in this process until told to stop; `role` overrides TIERLINK_ROLE."""
    node = Node.read(role)
    return _resolve_alone(node) if node.place.role == RECURSIVE else _run(_up, node, migrated=True)


def registry() -> int:
    """Run the registry until told to stop."""
    return _run(_registry, Node.read())


def _resolve_alone(node: Node) -> int:
    """Run a recursive node: nothing of this module but the way there is needed for it."""
    from tierlink import recursive  # noqa: PLC0415  (the other roles do not need it)

    server.log_plainly()
    sockets = server.listen(node.node.host, node.node.port)
    try:
        uvloop.run(recursive.serve(node, sockets))
    finally:
        for bound in sockets:
            bound.close()
    return 0


def _run(
    role: Callable[[Node, str, list[socket.socket]], Coroutine[None, None, None]],
    node: Node,
    *,
    migrated: bool = False,
) -> int:
    server.log_plainly()
    sockets = server.listen(node.node.host, node.node.port)
    try:
        with node.database() as url:
            # The embedded database has made it; resolvers and migrations have nothing to keep.
            node.node.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if migrated:
                migrations.upgrade(url)
            uvloop.run(role(node, url, sockets))
    finally:
        for bound in sockets:
            bound.close()
    return 0


async def _registry(node: Node, url: str, sockets: list[socket.socket]) -> None:
    ending = node.ending()
    async with opened(url, node.registry.database_pool) as store, Verifiers() as verifiers:
        keyring = node.keyring()
        await _founded(store, keyring, node)
        async with keeping(store, keyring, node.registry, node.node.data_dir, clock) as log:
            metrics = Metrics()
            keeper = housekeeper(store, node.registry, metrics)
            app = Measured(
                create_registry(
                    _deps(node, store, keyring, log.policy, ending=ending, verifiers=verifiers)
                ),
                metrics,
            )
            door = make_protocol(Answers(1), negotiate)  # no answers, the same limits
            sing = partial(canary.sing, store)
            beside = partial(together, greeting(node, sockets), log.sequencer.run, sing, keeper.run)
            collecting.settle()
            await server.serve(cast("ASGIApp", app), door, sockets, beside, ending=ending)


async def _up(node: Node, url: str, sockets: list[socket.socket]) -> None:
    ending = node.ending()
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(url, node.registry.database_pool))
        verifiers = await stack.enter_async_context(Verifiers())
        keyring = node.keyring()
        founded = await _founded(store, keyring, node)
        log = await stack.enter_async_context(
            keeping(store, keyring, node.registry, node.node.data_dir, clock)
        )
        verifier, metrics = Verifier(Trust.parse(bundle(founded.roots, ()))), Metrics()
        around = await stack.enter_async_context(
            neighbourhood(node, Reader(store, ttl=node.place.ttl), verifier, metrics)
        )
        follower = await stack.enter_async_context(membership(node, store, keyring, clock))
        reading = Resolver(
            around.source, verifier, node.resolver, memory=memory(node.resolver), metrics=metrics
        )
        speaker = Speaker(store, keyring, node.place.speaks)
        tracer, hop_routes = going_on(around, reading, boottime, speaker)
        loaded = asyncio.Event()
        app = Both(
            create_registry(
                _deps(node, store, keyring, log.policy, ending=ending, verifiers=verifiers)
            ),
            cast(
                "ASGIApp",
                create_resolver(
                    reading,
                    routes=(*hop_routes, *routes(reading, tracer)),
                    checks=(
                        lambda: "" if loaded.is_set() else "sample: still being loaded",
                        ending.unready,
                    ),
                    degraded=(log.amiss, *(() if follower is None else (follower.amiss,))),
                ),
            ),
        )
        async with following(reading):
            door = make_protocol(reading.answers, negotiate, ask=reading.ask)
            keeper = housekeeper(store, node.registry, reading.metrics)
            beside = partial(
                together,
                partial(_prepare, node, store, log.policy, sockets, loaded),
                log.sequencer.run,
                partial(follow_root, store, reading.verifier),
                partial(canary.sing, store),
                keeper.run,
                *works(follower, deliverer(store, around)),
            )
            collecting.settle()
            await server.serve(app, door, sockets, beside, ending=ending)


async def _prepare(
    node: Node,
    store: Store,
    policy: LogPolicy,
    sockets: list[socket.socket],
    loaded: asyncio.Event,
) -> None:
    """Load the sample where there is to be one, tell what to try, and keep trust.json true."""
    from tierlink.sample.loading import load as load_sample  # noqa: PLC0415  (needs the client, roles do not)

    data_dir = node.node.data_dir
    base = server.url_of(sockets[0], node.node.host)
    if node.node.sample != "none" and node.place.role == "root":
        operator = _operator_key(data_dir)
        await load_sample(base, operator, data_dir, recover=partial(_new_key, store), say=say)
    await _write_trust(store, data_dir, policy)
    loaded.set()
    _greet(base, node.node)
    await _keep_trust(store, data_dir, policy)


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


def _deps(
    node: Node,
    store: Store,
    keyring: Keyring,
    policy: LogPolicy,
    *,
    ending: Ending,
    verifiers: Verifiers,
) -> Deps:
    return Deps(
        store,
        keyring,
        clock,
        recovery_seconds=node.registry.recovery_seconds,
        policy=policy,
        unready=ending.unready,
        verifiers=verifiers,
        here=node.here,
        ttl=node.place.ttl,
    )


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


async def _write_trust(store: Store, data_dir: Path, policy: LogPolicy) -> None:
    """Write trust.json where it says something else: what `tierlink verify` checks against."""
    async with store.read() as tx:
        roots = await prefixes.roots(tx)
        delegations = [token async for page in prefixes.delegated(tx) for token in page]
    document = bundle(roots, delegations, policy)
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
