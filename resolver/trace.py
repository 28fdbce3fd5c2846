"""Trace: the walk over links across tiers, every statement in it verified.

    T1  the root: 404 where nobody registered it; a retired one is traced, for its links stand
    T2  per level one call of the source reads the links of the frontier, within the budget
    T3  verify each assertion under the chain of its speaker; one that fails is left out and named
    T4  decide what is kept and where the walk is cut short (resolver.walk), and go on with T2
    T5  describe: kind and status of each node from its own verified record, in one call
    T6  cycles, from what was found

So a trace over n levels makes n + 2 calls of the source. What could not be had is data and not an
error: it stands under `broken`. Verification takes the processor, so it pauses every few envelopes
to let other requests pass; a walk that its caller gave up ends at its deadline.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from schemas.canonical import JsonObject
from schemas.change import Watermark
from schemas.errors import (
    IdentifierNotFound,
    MethodNotAllowed,
    PrefixNotFound,
    PrefixSuspended,
    Unavailable,
)
from schemas.identifier import Identifier
from schemas.keys import b64encode
from schemas.source import Edge, Edges, State
from schemas.viewer import ANYBODY, Viewer

from .answers import target_of
from .asgi import JSON, NDJSON, Receive, Scope, Send, finish, start
from .epcis_document import LD_JSON, pieces as event_pieces
from .hops import Hops, Journey
from .joined import joined, part_view
from .kept import COMMON, Keep, Kept, let_go
from .outline import Course, Outliner, Outlining, Step, last, whole
from .quantities import rolled_view
from .question import ROUTE, Question
from .sources import Source
from .statements import Statements
from .traced import (
    Described,
    Trace,
    assemble,
    encode,
    level_view,
    summary,
)
from .trust import Offered, Verifier
from .walk import (
    BUDGET,
    EVERYTHING,
    MAX_EDGES,
    TIMEOUT,
    UNAVAILABLE,
    Broken,
    Budget,
    Level,
    Only,
    Read,
    Stated,
    Walk,
)

T = TypeVar("T")

LEVEL = 100_000  # identifiers that one call for links may name
CHUNK = 100_000  # identifiers that one look-up may name
SLICE = 16  # envelopes verified between two pauses: a few milliseconds
GRACE = 0.5  # seconds beyond the deadline to describe the nodes that were found
SHORT = 500  # nodes and links that are written in one piece
MAX_TRACES = 32  # at a time: they share one processor with every other request

ALLOW: Final = b"GET, HEAD, OPTIONS"
_PREFLIGHT: Final = [
    (b"allow", ALLOW),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", ALLOW),
    (b"access-control-allow-headers", b"accept, authorization"),
    (b"access-control-max-age", b"86400"),
]


class Tracer:
    """Walks over links; owned by one event loop.

    `clock` counts seconds and never goes back. Deadlines are judged by it.
    """

    def __init__(
        self,
        source: Source,
        trust: Verifier,
        clock: Callable[[], float] = time.monotonic,
        *,
        statements: Statements | None = None,
        hops: Hops | None = None,
        outlining: Outlining | None = None,
        kept: Kept | None = None,
    ) -> None:
        """`hops` is how it goes on at other nodes, None where there are none.

        `outlining` tells of links without their statements, for traces that ask for no proof; None
        where everything is verified. `kept` is where public traces are kept, None where none is.
        """
        self._kept = kept
        self._outliner = None if outlining is None else Outliner(outlining, clock)
        self._hops = hops
        self._source = source
        self._trust = trust
        self._clock = clock
        self._statements = statements or Statements()
        self._under_way = 0

    async def walk(
        self,
        root: Identifier,
        direction: str,
        budget: Budget,
        only: Only = EVERYTHING,
        *,
        viewer: Viewer = ANYBODY,
        across: bool = True,
    ) -> Trace:
        """Trace from a root; raise NotFound, PrefixSuspended or Unavailable for the root alone.

        Not `across`, what other nodes serve is shown, and told where to walk on from it.
        """
        deadline = self._clock() + budget.seconds
        described, read = await self._root(root)
        walk = Walk(root, direction, budget, only, viewer)
        journey = self._journey(deadline, across=across)
        levels = [level async for level in self.levels(walk, deadline, journey)]
        described |= await self.describe(levels[1:], journey, deadline)
        trace = assemble(walk, levels, described)
        if journey is not None:
            await journey.finish()
            if not journey.stayed:
                return joined(trace, journey)
        here = not any(item.away for item in described.values())
        return replace(trace, read=read if here else None)

    async def stream(
        self,
        root: Identifier,
        direction: str,
        budget: Budget,
        only: Only = EVERYTHING,
        *,
        viewer: Viewer = ANYBODY,
        proof: bool = True,
        across: bool = True,
        rollup: bool = False,
    ) -> AsyncGenerator[JsonObject, None]:
        """Trace level by level: one object for each, and a last one of the whole.

        Nodes are described as their level is reached, one more call of the source for each level.
        """
        deadline = self._clock() + budget.seconds
        described, _ = await self._root(root)
        walk = Walk(root, direction, budget, only, viewer)
        journey = self._journey(deadline, across=across)
        levels: list[Level] = []
        async for level in self.levels(walk, deadline, journey):
            if levels:
                described |= await self.describe([level], journey, deadline)
            levels.append(level)
            yield level_view(level, described, proof=proof)
        trace = assemble(walk, levels, described)
        if journey is not None:
            async with aclosing(self._arriving(journey, proof=proof)) as lines:
                async for line in lines:
                    yield line
            trace = joined(trace, journey)
        if rollup:
            trace = replace(trace, rollup=rolled_view(trace))
        yield summary(trace, proof=proof)

    async def _arriving(self, journey: Journey, *, proof: bool) -> AsyncGenerator[JsonObject, None]:
        told = 0  # of what is broken
        try:
            while journey.away or told < len(journey.broken):
                if told < len(journey.broken):
                    yield {"broken": [item.view() for item in journey.broken[told:]]}
                    told = len(journey.broken)
                    continue
                for arrived in await journey.next():
                    for part in arrived.parts:
                        yield part_view(part, arrived.depth, proof=proof)
        finally:
            journey.cancel()

    def _journey(self, deadline: float, *, across: bool) -> Journey | None:
        return None if self._hops is None else Journey(self._hops, deadline, onward=across)

    # T1

    async def _root(self, root: Identifier) -> tuple[dict[Identifier, Described], Watermark]:
        """Describe the root; return where the snapshot stood that it was read in, too."""
        fetched = await self._source.fetch([root], whole=False)
        found = fetched.found.get(root)
        if found is None or found.state is State.MISSING:
            raise IdentifierNotFound(
                "nobody registered this identifier and no class rule covers it", value=root.text
            )
        if found.state in {State.FOREIGN, State.NOWHERE}:
            raise PrefixNotFound("this prefix does not live here", value=str(root.prefix))
        if found.state is State.PREFIX_SUSPENDED:
            raise PrefixSuspended("the prefix, or one above it, is suspended", value=root.text)
        offered = self._trust.offered(fetched.delegations)
        return {root: self._statements.describe(root, found, offered)}, fetched.watermark

    # T2

    async def levels(
        self, walk: Walk, deadline: float, journey: Journey | None = None
    ) -> AsyncIterator[Level]:
        """Take T2 to T4, level by level; what other nodes serve leaves on its journey."""
        yield walk.start()
        if journey is not None:
            await journey.depart(walk, stay=True)
        while walk.frontier:
            level = walk.advance(await self._read(walk, deadline))
            if journey is not None:
                await journey.depart(walk)
            yield level

    async def _read(self, walk: Walk, deadline: float) -> Read:
        read = Read()
        for part in _slices(walk.frontier, LEVEL):
            read = read.and_then(await self._read_part(walk, part, deadline))
            if read.rest is not None:
                break
        return read

    async def _read_part(self, walk: Walk, part: Sequence[Identifier], deadline: float) -> Read:
        if walk.edges_left <= 0:
            return Read(rest=part[0], why=BUDGET)
        limit = min(walk.edges_left, MAX_EDGES)
        try:
            async with self._until(deadline):
                found = await self._source.edges(
                    walk.near(part),
                    walk.direction,
                    limit,
                    walk.viewer,
                    when=walk.only.when,
                )
        except TimeoutError:
            return Read(rest=part[0], why=TIMEOUT)
        except Unavailable:
            return Read(rest=part[0], why=UNAVAILABLE)
        read = await self._verify(walk, found, deadline)
        if read.rest is not None or not found.truncated:
            return read
        told = [walk.ends(edge.link)[0] for edge in found.edges[-1:]]
        told += [item.near for item in found.blinded[-1:]]
        rest = max(told, key=lambda near: near.text, default=part[0])
        return replace(read, rest=rest, why=BUDGET)

    def _until(self, deadline: float) -> asyncio.Timeout:
        """Limit a call of the source; raise TimeoutError at once where the time is up."""
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return asyncio.timeout(left)

    # T3

    async def _verify(self, walk: Walk, found: Edges, deadline: float) -> Read:
        offered = self._trust.offered(found.delegations)
        stated: list[Stated] = []
        broken: list[Broken] = []
        for part in _slices(walk.select(found.edges), SLICE):
            if self._clock() >= deadline:
                return Read(tuple(stated), tuple(broken), walk.ends(part[0].link)[0], TIMEOUT)
            self._verify_part(walk, part, offered, stated, broken)
            await asyncio.sleep(0)
        return Read(tuple(stated), tuple(broken), blinded=walk.unseen(found.blinded))

    def _verify_part(
        self,
        walk: Walk,
        part: Sequence[Edge],
        offered: Offered,
        stated: list[Stated],
        broken: list[Broken],
    ) -> None:
        for edge in part:
            near, _ = walk.ends(edge.link)
            found, failed = self._statements.stated(edge, near, offered)
            broken += failed
            if found is not None and walk.only.when.counts(found.said):
                stated.append(found)

    # T5

    async def describe(
        self, levels: Sequence[Level], journey: Journey | None, deadline: float
    ) -> dict[Identifier, Described]:
        """Take T5 for what levels found; what left on a journey is described where it arrives."""
        left = set() if journey is None else journey.left
        nodes = [node for level in levels for node in level.nodes]
        here = [node for node in nodes if node not in left]
        described = await self._describe(here, deadline + GRACE)
        return described | {node: Described() for node in nodes if node in left}

    async def _describe(
        self, nodes: Sequence[Identifier], deadline: float
    ) -> dict[Identifier, Described]:
        described: dict[Identifier, Described] = {}
        for part in _slices(nodes, CHUNK):
            described |= await self._describe_part(part, deadline)
        return described

    async def _describe_part(
        self, nodes: Sequence[Identifier], deadline: float
    ) -> dict[Identifier, Described]:
        try:
            async with self._until(deadline):
                fetched = await self._source.fetch(nodes, whole=False)
        except TimeoutError:
            return dict.fromkeys(nodes, Described(code=TIMEOUT))
        except Unavailable:
            return dict.fromkeys(nodes, Described(code=UNAVAILABLE))
        offered = self._trust.offered(fetched.delegations)
        described: dict[Identifier, Described] = {}
        for part in _slices(nodes, SLICE):
            for node in part:
                found = fetched.found.get(node)
                described[node] = self._statements.describe(node, found, offered)
            await asyncio.sleep(0)
        return described

    # HTTP

    async def handle(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request as an ASGI application; raise what the error edge translates."""
        method = scope["method"]
        if method == "OPTIONS":
            await start(send, 204, _PREFLIGHT)
            await finish(send)
            return
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed("a trace is read", value="GET, HEAD, OPTIONS", fix="use GET")
        accept = b", ".join(value for name, value in scope["headers"] if name == b"accept")
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        question = Question.read(scope["raw_path"], scope["query_string"], accept, host)
        walking: AbstractContextManager[Keep] = nullcontext(let_go)
        target = self._kept_as(scope, question, accept)
        if self._kept is not None and target is not None:
            answer = await self._kept.find(target)
            if answer is not None:
                for message in answer.asgi(method):
                    await send(message)
                return
            walking = self._kept.walking(target)
        with self.one_more(), walking as keep:
            viewer = await self._viewer(scope, question)
            if question.plain and self._outliner is not None:
                await self._send_outline(question, viewer, method, send, keep)
            elif question.streamed:
                await self._send_stream(question, viewer, method, send)
            else:
                await self._send_whole(question, viewer, method, send, keep)

    def _kept_as(self, scope: Scope, question: Question, accept: bytes) -> bytes | None:
        """Return the target under which the answer may be kept, None where it may not."""
        if self._kept is None or question.streamed or question.base:
            return None
        named = any(name == b"authorization" for name, _ in scope["headers"])
        # One identifier has one spelling, else escapes could fill the store.
        spelled = scope["raw_path"] == ROUTE + question.root.path.encode()
        if named or not spelled or not self._kept.fits(accept):
            return None
        return target_of(scope["raw_path"], scope["query_string"])

    async def _viewer(self, scope: Scope, question: Question) -> Viewer:
        """Find out who asks, by his API key; raise Unauthenticated."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        caller = await self._source.caller(given[0].decode("latin-1")) if given else None
        return Viewer(caller, question.purpose, b64encode(secrets.token_bytes(16)))

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one more trace under way; raise Unavailable where there are too many."""
        if self._under_way >= MAX_TRACES:
            raise Unavailable(
                f"{MAX_TRACES} traces are under way", retry_after=1, fix="ask again in a second"
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _send_whole(
        self, asked: Question, viewer: Viewer, method: str, send: Send, keep: Keep
    ) -> None:
        trace = await self.walk(
            asked.root,
            asked.direction,
            asked.budget,
            asked.only,
            viewer=viewer,
            across=asked.across,
        )
        if asked.rollup:
            trace = replace(trace, rollup=rolled_view(trace))
        headers = [(b"content-type", LD_JSON if asked.base else JSON), *COMMON]
        if len(trace.nodes) + len(trace.edges) <= SHORT and not asked.base:
            body = encode(trace.view(proof=asked.proof))
            if trace.read is not None and not trace.blinded and not _hurried(trace):
                shown = {node.identifier.text for node in trace.nodes}
                covers = {node.described.cover for node in trace.nodes} - {""}
                keep(body, shown | covers, trace.read)
            await start(send, 200, [*headers, (b"content-length", b"%d" % len(body))])
            await finish(send, b"" if method == "HEAD" else body)
            return
        await start(send, 200, headers)
        pieces = event_pieces(trace, asked.base) if asked.base else trace.pieces(proof=asked.proof)
        for piece in pieces if method != "HEAD" else ():
            await _more(send, piece)
            await asyncio.sleep(0)
        await finish(send)

    async def _send_outline(
        self, asked: Question, viewer: Viewer, method: str, send: Send, keep: Keep
    ) -> None:
        assert self._outliner is not None
        course = Course(asked.root, asked.direction, asked.budget)
        steps: list[Step] = []
        headers = [(b"content-type", NDJSON if asked.streamed else JSON), *COMMON]
        walk = self._outliner.steps(course, viewer, asked.only, partial(self._root, asked.root))
        async with aclosing(walk):
            async for step in walk:
                steps.append(step)
                if asked.streamed and len(steps) == 1:
                    await start(send, 200, headers)
                if asked.streamed and method == "HEAD":
                    break
                if asked.streamed:
                    await _more(send, step.line())
        if asked.streamed:
            await finish(send, b"" if method == "HEAD" else last(steps, course))
            return
        body = b"".join(whole(steps, course))
        if course.read is not None and course.lasts(steps):
            keep(body, [node for step in steps for node in step.nodes], course.read)
        await start(send, 200, [*headers, (b"content-length", b"%d" % len(body))])
        await finish(send, b"" if method == "HEAD" else body)

    async def _send_stream(self, asked: Question, viewer: Viewer, method: str, send: Send) -> None:
        begun = False  # not before the root is known to be there
        lines = self.stream(
            asked.root,
            asked.direction,
            asked.budget,
            asked.only,
            viewer=viewer,
            proof=asked.proof,
            across=asked.across,
            rollup=asked.rollup,
        )
        async with aclosing(lines):
            async for line in lines:
                if not begun:
                    begun = True
                    await start(send, 200, [(b"content-type", NDJSON), *COMMON])
                if method == "HEAD":
                    break
                await _more(send, encode(line) + b"\n")
        await finish(send)


def _hurried(trace: Trace) -> bool:
    """Tell whether another walk of the same might well find more."""
    return any(item.code in {TIMEOUT, UNAVAILABLE} for item in trace.broken)


async def _more(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
