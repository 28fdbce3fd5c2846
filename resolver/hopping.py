"""POST /v1/traces/hop: another node's question about a trace (`resolver.hops`, J6 to J9)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from schemas.canonical import Json, JsonObject, decode_object
from schemas.errors import BadInput, MethodNotAllowed, Unavailable, VerifyError
from schemas.hop import Closed
from schemas.identifier import Identifier
from schemas.opening import MAX_CONTENT, NONCE_BYTES, digest_of, put

from .asgi import JSON, Receive, Scope, Send, finish, read_body, start
from .hops import CYCLE, PATH, Hops, Journey, Received, receive
from .parts import delegations_of, encode_part
from .trace import Tracer
from .traced import Described, encode
from .trust import Verifier
from .walk import BUDGET, Broken, Level

MAX_BODY = 4 * 1024 * 1024
ROUTE: Final = PATH

_log = logging.getLogger(__name__)


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
        found = _Found([], {})
        closed: list[Closed] = []
        if fresh:
            deadline = self._hops.clock() + received.seconds(self._hops.wall())
            journey = Journey(self._hops, deadline, luggage=received.luggage)
            walk = received.walk(fresh)
            levels = [level async for level in self._tracer.levels(walk, deadline, journey)]
            found, closed = await asyncio.gather(
                self._finish(levels, journey, deadline),
                self._closed(received, levels, journey, deadline),
            )
        # J9
        lacks = [Broken(item, CYCLE) for item in again] + found.broken
        return await self._reply(trace, replace(found, broken=lacks), closed)

    async def _finish(self, levels: list[Level], journey: Journey, deadline: float) -> _Found:
        described = await self._tracer.describe(levels, journey, deadline)
        await journey.finish()
        replies = [arrived.reply for arrived in journey.arrived]
        return _Found(levels, described, journey.broken, replies)

    async def _reply(self, trace: str, found: _Found, closed: Sequence[Closed] = ()) -> JsonObject:
        part = encode_part(trace, self._hops.place.here, found.levels, found.described)
        _add(part, found.broken)
        if closed:
            part["closed"] = [digest_of(item.box) for item in closed]
        seal, chain = await self._hops.seal(trace, part)
        reply: JsonObject = {
            "part": part,
            "delegations": [*dict.fromkeys((*delegations_of(found.levels), *chain))],
            "parts": [*found.replies],
            "seal": seal,
        }
        if closed:
            reply["closed"] = [item.view() for item in closed]
        return reply

    # J8

    async def _closed(
        self, received: Received, levels: Sequence[Level], plain: Journey, deadline: float
    ) -> list[Closed]:
        """Walk the entries for whoever made an opening, and close what he is shown in a box.

        Whether that is more than is shown anyway, the box does not tell.
        """
        here = {node.prefix for level in levels for node in level.nodes if node not in plain.left}
        try:
            asker = await self._hops.door.recognise(received.hop, sorted(here, key=str))
            if asker is None:
                return []
            luggage = replace(received.luggage, named=False)
            journey = Journey(self._hops, deadline, luggage=luggage, elsewhere=plain.asked)
            entries = levels[0].nodes
            walk = received.walk(entries, asker.grantee)
            more = [level async for level in self._tracer.levels(walk, deadline, journey)]
            found = await self._finish(more, journey, deadline)
            content = encode(await self._reply(received.hop.trace, found))
            if len(content) > MAX_CONTENT:
                content = encode(await self._reply(received.hop.trace, found.cut_short()))
        except Unavailable as err:
            _log.warning("nothing is shown to whom openings are of: %s", err)
            return []
        nonce = secrets.token_bytes(NONCE_BYTES)
        box = put(asker.key, received.hop.trace, asker.opening, content, nonce)
        return [Closed(asker.opening, box)]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one walk found here, what it lacks, and the replies of other nodes."""

    levels: list[Level]
    described: dict[Identifier, Described]
    broken: list[Broken] = field(default_factory=list)
    replies: list[JsonObject] = field(default_factory=list)

    def cut_short(self) -> _Found:
        """Return the entries alone, named as cut short: all of it is too much for a box."""
        entries = self.levels[0].nodes
        lacks = [Broken(item, BUDGET) for item in entries]
        return _Found([Level(0, entries)], self.described, lacks)


def _add(part: JsonObject, broken: Sequence[Broken]) -> None:
    listed = part["broken"]
    assert isinstance(listed, list)
    views: list[Json] = [item.view() for item in broken]
    listed += views
