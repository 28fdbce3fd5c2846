"""One request, one transaction: opened when a route asks, committed before the answer leaves.

`Transactions` is pure ASGI and sits inside `Problems`. It puts a `Session` into the scope; the
dependencies of `deps` open its transaction. While a write is open the answer is held back: an
exception or a status of 400 and more rolls back, anything else is kept for its Idempotency-Key,
committed, and only then sent. It also counts the bytes of a body while they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry import idempotency
from registry.accounts import Caller
from registry.config import RECOVERY_SECONDS
from registry.here import Here
from registry.idempotency import Answer, Claim
from registry.keyring import Keyring
from registry.store.engine import ReadTx, Store, WriteTx
from registry.verifiers import Verifiers
from schemas.errors import TooLarge
from schemas.policy import LogPolicy

MAX_BODY = 128 * 1024  # the largest signed record of either form, and room
REPLAYED = "idempotency-replayed"

_KEY = "tierlink.session"
_KEPT_HEADERS = frozenset({"content-type", "etag", "location"})


@dataclass(frozen=True, slots=True)
class Deps:
    """What the registry is built from; made by the composition root."""

    store: Store
    keyring: Keyring
    clock: Callable[[], int]  # Unix seconds
    recovery_seconds: int = RECOVERY_SECONDS  # how long a recovery waits
    policy: LogPolicy | None = None  # of the node's log, for the trust bundle
    verifiers: Verifiers | None = None  # for large imports; without them threads do it
    unready: Callable[[], str] = str  # why no more requests are wanted, empty where they are
    ttl: int = 0  # seconds for which other nodes may keep what they are told
    here: Here = Here()  # noqa: RUF009  (frozen) where this node is among others


class Replay(Exception):
    """No fault: the way out of a route whose request was answered before."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("answered before")
        self.answer = answer


class _Refused(Exception):
    """Rolls back a write whose route answered with a refusal."""


@dataclass(slots=True)
class Session:
    """The transaction of one request. One task uses it, at most one transaction is open."""

    deps: Deps
    method: str
    streams: bool = False  # the route reads a body of any length and keeps its own transactions
    caller: Caller | None = None
    claim: Claim | None = None
    writes: WriteTx | None = None
    _reads: ReadTx | None = None
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def read(self) -> ReadTx:
        """Return the transaction of this request, for reading."""
        if self.writes is not None:
            return self.writes
        if self._reads is None:
            self._reads = await self._open.enter_async_context(self.deps.store.read())
        return self._reads

    async def write(self) -> WriteTx:
        """Return the transaction of this request, for writing."""
        assert self._reads is None, "a route that writes asks for Write before Read"
        if self.writes is None:
            self.writes = await self._open.enter_async_context(self.deps.store.write())
        return self.writes

    async def current(self) -> ReadTx:
        """Return the transaction that the method calls for."""
        if self._reads is not None or self.method in ("GET", "HEAD"):
            return await self.read()
        return await self.write()

    async def keep(self, held: list[Message]) -> None:
        """Keep the answer for the Idempotency-Key that was claimed."""
        status = held[0]["status"]
        if status >= 400:  # noqa: PLR2004  (a refusal)
            raise _Refused
        if self.claim is None:
            return
        assert self.writes is not None
        headers = [(name.decode(), value.decode("latin-1")) for name, value in held[0]["headers"]]
        kept = [item for item in headers if item[0].lower() in _KEPT_HEADERS]
        body = b"".join(message.get("body", b"") for message in held[1:])
        await idempotency.keep(
            self.writes, self.deps.keyring, self.claim, Answer(status, kept, body)
        )


def session_of(scope: Scope) -> Session:
    """Return the session of a request."""
    session = scope[_KEY]
    assert isinstance(session, Session)
    return session


class Transactions:
    """Gives every request its session, and ends it."""

    def __init__(self, app: ASGIApp, deps: Deps) -> None:
        self.app = app
        self.deps = deps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; send what it answered once that is committed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        session = scope[_KEY] = Session(self.deps, scope["method"])
        held: list[Message] = []

        async def hold(message: Message) -> None:
            if session.writes is None:
                await send(message)
            else:
                held.append(message)

        try:
            async with session._open:  # noqa: SLF001  (its owner)
                await self.app(scope, _counted(session, receive), hold)
                if session.writes is not None:
                    await session.keep(held)
        except _Refused:
            pass
        except Replay as replay:
            held = _messages(replay.answer)
        for message in held:
            await send(message)


def _counted(session: Session, receive: Receive) -> Receive:
    """Refuse a body over the limit while it is read: nobody's Content-Length is trusted."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY and not session.streams:
            raise TooLarge(
                f"the body has more than {MAX_BODY} bytes",
                value=MAX_BODY,
                fix="send many records to /v1/identifiers/batch, a line each",
            )
        return message

    return counted


def _messages(answer: Answer) -> list[Message]:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    headers += [
        (b"content-length", str(len(answer.body)).encode()),
        (REPLAYED.encode(), b"true"),
    ]
    return [
        {"type": "http.response.start", "status": answer.status, "headers": headers},
        {"type": "http.response.body", "body": answer.body},
    ]
