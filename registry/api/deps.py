"""What a route may ask for in its signature: a transaction, who calls, paths and bodies.

    async def allocate(body: NewPrefix, caller: CallerDep, tx: Write, deps: DepsDep): …

`Write` and `CallerDep` share the request's one transaction; with an Idempotency-Key `CallerDep`
answers a repeated request before the route is entered. A route that streams takes `StreamCaller`
instead: it authenticates in a transaction of its own and lifts the limit on the body.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from registry import accounts, idempotency
from registry.accounts import Caller
from registry.api.problems import is_json
from registry.api.transaction import Deps, Replay, Session, session_of
from registry.idempotency import Answer
from registry.store.engine import ReadTx, WriteTx
from schemas import canonical
from schemas.canonical import JsonObject
from schemas.errors import BadInput, BadQuery, Unsupported, VerifyError
from schemas.identifier import Identifier, Prefix

__all__ = [
    "CallerDep",
    "Deps",
    "DepsDep",
    "MaybeCaller",
    "PathPrefix",
    "Read",
    "StreamCaller",
    "StrictQuery",
    "Write",
    "path_identifier",
    "read_object",
    "read_prefix",
]

ROOT_ALIAS = "root"  # clients remove the segment "." from a path


def _session(request: Request) -> Session:
    return session_of(request.scope)


_SessionDep = Annotated[Session, Depends(_session)]


def _deps(session: _SessionDep) -> Deps:
    return session.deps


async def _read(session: _SessionDep) -> ReadTx:
    return await session.read()


async def _write(request: Request, session: _SessionDep) -> WriteTx:
    await request.body()  # whole before the transaction: a slow sender holds no connection
    return await session.write()


async def _caller(request: Request, session: _SessionDep) -> Caller:
    if session.caller is not None:
        return session.caller
    await request.body()
    tx = await session.current()
    now = session.deps.clock()
    caller = await accounts.authenticate(tx, request.headers.get("authorization"), now)
    session.caller = caller
    key = request.headers.get("idempotency-key")
    if key is not None and session.writes is not None:
        await _claim(request, session, session.writes, caller, idempotency.read_key(key))
    return caller


async def _maybe_caller(request: Request, session: _SessionDep) -> Caller | None:
    return await _caller(request, session) if "authorization" in request.headers else None


async def _claim(request: Request, session: Session, tx: WriteTx, caller: Caller, key: str) -> None:
    target = request.scope["raw_path"] + b"?" + request.scope["query_string"]
    request_hash = idempotency.fingerprint(request.method, target, await request.body())
    found = await idempotency.claim(tx, session.deps.keyring, caller.key_id, key, request_hash)
    if isinstance(found, Answer):
        raise Replay(found)
    session.claim = found


async def _stream_caller(request: Request, session: _SessionDep) -> Caller:
    session.streams = True
    async with session.deps.store.read() as tx:
        now = session.deps.clock()
        return await accounts.authenticate(tx, request.headers.get("authorization"), now)


def _prefix(
    prefix: Annotated[str, Path(description='a prefix such as 88.118, or "root"')],
) -> Prefix:
    return read_prefix(prefix)


def read_prefix(text: str) -> Prefix:
    """Read a prefix of a path or query, where the root may be written "root"."""
    return Prefix(()) if text == ROOT_ALIAS else Prefix.parse(text)


def _strict_query(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise BadQuery(f"{name} is given more than once", value=name)


DepsDep = Annotated[Deps, Depends(_deps)]
Read = Annotated[ReadTx, Depends(_read)]
Write = Annotated[WriteTx, Depends(_write)]
CallerDep = Annotated[Caller, Depends(_caller)]
MaybeCaller = Annotated[Caller | None, Depends(_maybe_caller)]
StreamCaller = Annotated[Caller, Depends(_stream_caller)]
PathPrefix = Annotated[Prefix, Depends(_prefix)]
StrictQuery = Depends(_strict_query)


def path_identifier(request: Request, head: str, tail: str = "") -> Identifier:
    """Read the identifier of a raw path between `head` and `tail`; raise BadIdentifier."""
    raw: bytes = request.scope["raw_path"]
    return Identifier.from_path(raw.removeprefix(head.encode()).removesuffix(tail.encode()))


async def read_object(request: Request) -> JsonObject:
    """Read a JSON body by the strict rules of `schemas.canonical`; raise BadInput, Unsupported."""
    raw = await request.body()
    if not raw:
        raise BadInput("the body is missing", fix="send a JSON object")
    if not is_json(request.headers.get("content-type")):
        raise Unsupported(
            "the body is not declared as JSON",
            value=request.headers.get("content-type"),
            fix="send Content-Type: application/json",
        )
    try:
        return canonical.decode_object(raw)
    except VerifyError as err:
        raise BadInput(f"the body: {err.detail}", value=err.value, fix=err.fix) from err
