"""POST /v1/traces/hop: another node's question about a trace (`resolver.hops`, J6 to J8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.canonical import Json, JsonObject, decode_object
from schemas.errors import BadInput, MethodNotAllowed, VerifyError
from schemas.identifier import Identifier

from .asgi import JSON, Receive, Scope, Send, finish, read_body, start
from .hops import CYCLE, PATH, Hops, Journey, Received, receive
from .parts import delegations_of, encode_part
from .trace import Tracer
from .traced import Described, encode
from .trust import Verifier
from .walk import Broken, Level

MAX_BODY = 4 * 1024 * 1024
ROUTE: Final = PATH


class Hopping:
    """Answers other nodes; for one event loop."""

    def __init__(self, tracer: Tracer, hops: Hops, verifier: Verifier) -> None:
        self._tracer = tracer
        self._hops = hops
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive_body: Receive, send: Send) -> None:
        """Answer one request; raise what the error edge translates."""
        if scope["method"] != "POST":
            raise MethodNotAllowed("a hop is posted", value="POST", fix="use POST")
        raw = await read_body(receive_body, MAX_BODY)
        try:
            request = decode_object(raw)
        except VerifyError as err:
            raise BadInput(f"the body is {err.detail}", value=err.value) from err
        received = receive(request, self._verifier, self._hops.place, self._hops.wall())
        with self._tracer.one_more():
            body = encode(await self.answer(received))
        headers = [
            (b"content-type", JSON),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % len(body)),
        ]
        await start(send, 200, headers)
        await finish(send, body)

    async def answer(self, received: Received) -> JsonObject:
        """Walk on from the entries; return the reply."""
        trace = received.hop.trace
        # J6
        fresh = [item for item in received.entries if self._hops.first(trace, item)]
        again = [item for item in received.entries if item not in set(fresh)]
        # J7
        levels: list[Level] = []
        described: dict[Identifier, Described] = {}
        deadline = self._hops.clock() + received.seconds(self._hops.wall())
        journey = Journey(self._hops, deadline)
        if fresh:
            walk = received.walk(fresh)
            levels = [level async for level in self._tracer.levels(walk, deadline, journey)]
            described = await self._tracer.describe(levels, journey, deadline)
            await journey.finish()
        broken = [Broken(item, CYCLE) for item in again] + journey.broken
        # J8
        part = encode_part(trace, self._hops.place.here, levels, described)
        _add(part, broken)
        seal, chain = await self._hops.seal(trace, part)
        return {
            "part": part,
            "delegations": [*dict.fromkeys((*delegations_of(levels), *chain))],
            "parts": [arrived.reply for arrived in journey.arrived],
            "seal": seal,
        }


def _add(part: JsonObject, broken: Sequence[Broken]) -> None:
    listed = part["broken"]
    assert isinstance(listed, list)
    views: list[Json] = [item.view() for item in broken]
    listed += views
