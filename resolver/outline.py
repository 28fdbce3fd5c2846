"""Traces without proof: the same walk over what is kept of links, its JSON passed on as bytes.

    O1  the root answers here (`trace`, T1); all that can be reached from it, where the authority
        can tell by one statement
    O2  else per level one statement, within the budget
    O3  decide what is kept and where the walk is cut short, as `walk` does by W1 to W5: the same
        nodes and links at the same depths
    O4  cycles, from what was found

So a trace over n levels makes n + 2 statements at most, and mostly one. Identifiers are strings
here, links are places in lists and finished texts: nothing is read, verified or described, and the
answer says so. Blinded links are as in any trace. No other node is asked: where what it serves
is met, the answer tells where to walk on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Protocol, runtime_checkable

from schemas.canonical import Json, JsonObject
from schemas.change import Watermark
from schemas.errors import Unavailable
from schemas.identifier import Identifier
from schemas.link import DOWNSTREAM, UPSTREAM
from schemas.outline import SEPARATOR, Asked, Level, Outline, Sweep
from schemas.source import Blinded
from schemas.viewer import Viewer

from .traced import blinded_view, cycles, encode
from .walk import BUDGET, CUT_SHORT, MAX_EDGES, TIMEOUT, UNAVAILABLE, Budget, Only

_OTHER = {UPSTREAM: DOWNSTREAM, DOWNSTREAM: UPSTREAM}
_NOTHING = Outline((), (), b"", 0)


@runtime_checkable
class Outlining(Protocol):
    """An authority that tells of links without what was stated."""

    async def sweep(self, root: Identifier, asked: Asked, depth: int) -> Sweep:
        """Return all links that can be reached, where one statement can tell."""
        ...

    async def survey(self, level: Level, asked: Asked, limit: int) -> Outline:
        """Return the links of a level; it may be of any length."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One level as it is shown; `broken` are (identifier, code)."""

    depth: int
    nodes: Sequence[str]
    texts: bytes = b""
    broken: Sequence[tuple[str, str]] = ()
    blinded: Sequence[Blinded] = ()

    @property
    def listed(self) -> bytes:
        """The nodes as JSON, without brackets."""
        if not self.nodes:
            return b""
        behind = f',"depth":{self.depth}}}'
        between = behind + ',{"identifier":'
        found = between.join(map(encode_basestring, self.nodes))
        return f'{{"identifier":{found}{behind}'.encode()

    @property
    def links(self) -> bytes:
        """The links as JSON, without brackets."""
        return self.texts.replace(SEPARATOR, b",")

    @property
    def lacking(self) -> list[Json]:
        """What could not be shown."""
        return [{"identifier": node, "code": code} for node, code in self.broken]

    @property
    def hidden(self) -> list[Json]:
        """The links with pseudonyms."""
        return [blinded_view(item, self.depth) for item in self.blinded]

    def line(self) -> bytes:
        """Return the level as a line of a stream."""
        rest: JsonObject = {"broken": self.lacking}
        if self.blinded:
            rest["blinded"] = self.hidden
        return b'{"depth":%d,"nodes":[%b],"edges":[%b],%b\n' % (
            self.depth,
            self.listed,
            self.links,
            encode(rest)[1:],
        )


class Course:
    """The state of one walk: `walk.Walk` over strings."""

    def __init__(self, root: Identifier, direction: str, budget: Budget) -> None:
        # W1
        self.root = root
        self.direction = direction
        self.budget = budget
        self.depth = 0
        self.frontier: list[str] = [root.text]
        self.edges_left = budget.edges
        self._visited = {root.text}
        self._entries = [root.text]
        self._steps = [0]
        self.continuations: list[Json] = []
        self._leads_back = False
        self._circles: tuple[tuple[str, ...], ...] = ()
        self._pairs: list[tuple[Sequence[str], Sequence[int], Sequence[str]]] = []
        self._depths: list[Sequence[str]] = [(root.text,)]
        self.read: Watermark | None = None  # of the first reading, where the root is registered

    def level(self) -> Level:
        """Return the frontier with how the walk came to it."""
        return Level(self.frontier, self._entries, self._steps)

    def advance(self, found: Outline, why: str = BUDGET) -> Step:
        """O3: take what was read of the frontier and move on to the next."""
        self.edges_left -= len(found.far) + len(found.blinded)
        near, far, texts = found.near, found.far, found.texts
        # Of links to one far end the first counts, as it was read.
        first = dict(zip(reversed(far), reversed(near), strict=True))
        fresh = first.keys() - self._visited
        short: dict[str, str] = {}
        room = self._room()
        if len(fresh) > room:
            fresh, kept = self._fill(found, fresh, room, short)
            near, far = [near[at] for at in kept], [far[at] for at in kept]
            lines = texts.split(SEPARATOR)
            texts = SEPARATOR.join([lines[at] for at in kept])
            first = dict(zip(reversed(far), reversed(near), strict=True))
        self._leads_back = self._leads_back or len(fresh) < len(first)
        self._pairs.append((self.frontier, near, far))
        nodes = sorted(fresh)
        if found.rest is not None:
            short.update(dict.fromkeys(self.frontier[found.rest :], why))
            short.update(dict.fromkeys(nodes, why))
        self._depths.append(nodes)
        self.depth += 1
        self._follow(self._staying(nodes, found.away), first)
        self._visited.update(nodes)
        if found.rest is not None:
            self.frontier = []
        return Step(self.depth, nodes, texts, sorted(short.items()), found.blinded)

    def glide(self, links: Sequence[tuple[str, str, str]]) -> list[Step] | None:
        """Walk through links that are all there are; None where the budget does not suffice."""
        if len(links) > self.edges_left:
            return None
        told = self._told(links)
        depths = {self.root.text: 0}
        nodes = [self.root.text]
        steps: list[Step] = []
        for depth in range(1, self.budget.depth + 2):
            met = [told[key] for key in nodes if key in told]
            new = {end for ends, _ in met for end in ends} - depths.keys()
            depths.update(dict.fromkeys(new, depth))
            nodes = sorted(new)
            steps.append(Step(depth, nodes, "\n".join([text for _, text in met]).encode()))
            if not nodes:
                break
        if nodes or len(depths) > self.budget.nodes:
            return None
        if any(depths[far] <= depths[near] for near, far, _ in links):
            self._circles = cycles([(near, far) for near, far, _ in links], depths)
        return steps

    def _told(self, links: Sequence[tuple[str, str, str]]) -> dict[str, tuple[list[str], str]]:
        """Return of each near end its far ends, and the text of its links, both in order."""
        ahead = f'{{"{_OTHER[self.direction]}":'
        behind = f',"{self.direction}":'
        grouped: dict[str, list[tuple[str, str]]] = {}
        for near, far, text in links:
            grouped.setdefault(near, []).append((far, text))
        told: dict[str, tuple[list[str], str]] = {}
        for key, ends in grouped.items():
            ends.sort()
            head = f"{ahead}{encode_basestring(key)}{behind}"
            joined = ("}\n" + head).join([text for _, text in ends])
            told[key] = ([far for far, _ in ends], f"{head}{joined}}}")
        return told

    def _room(self) -> int:
        if self.depth >= self.budget.depth:
            return 0
        return self.budget.nodes - len(self._visited)

    def _fill(
        self, found: Outline, fresh: set[str], room: int, short: dict[str, str]
    ) -> tuple[set[str], list[int]]:
        """W4: keep new nodes while there is room, and links between what is kept."""
        taken: set[str] = set()
        kept: list[int] = []
        for at, (near, far) in enumerate(zip(found.near, found.far, strict=True)):
            if far in fresh and far not in taken:
                if len(taken) >= room:
                    short[self.frontier[near]] = BUDGET
                    continue
                taken.add(far)
            kept.append(at)
        return taken, kept

    def _staying(self, nodes: list[str], away: Mapping[str, str]) -> list[str]:
        """Note where to walk on from what other nodes serve; return the rest."""
        if not away:
            return nodes
        staying = []
        left = max(0, self.budget.depth - self.depth)
        for node in nodes:
            home = away.get(node.partition("/")[0])
            if home is None:
                staying.append(node)
            else:
                self.continuations.append({"identifier": node, "node": home, "depth": left})
        return staying

    def _follow(self, nodes: list[str], first: Mapping[str, int]) -> None:
        """Go on to new nodes: within one prefix a walk keeps where it came in (`viewer.Near`)."""
        prefixes = [key[: key.index("/") + 1] for key in self.frontier]
        entries, steps = [], []
        for node in nodes:
            at = first[node]
            if node.startswith(prefixes[at]):
                entries.append(self._entries[at])
                steps.append(self._steps[at] + 1)
            else:
                entries.append(node)
                steps.append(0)
        self.frontier, self._entries, self._steps = nodes, entries, steps

    def lasts(self, steps: Sequence[Step]) -> bool:
        """Tell whether another walk would find the same: no pseudonyms, nothing hurried or away."""
        hurried = {TIMEOUT, UNAVAILABLE} & {code for step in steps for _, code in step.broken}
        return not (hurried or self.continuations or any(step.blinded for step in steps))

    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """O4: find the cycles; where no link led back there are none."""
        if not self._leads_back:
            return self._circles
        depths = {node: depth for depth, nodes in enumerate(self._depths) for node in nodes}
        pairs = (
            (frontier[at], end)
            for frontier, near, far in self._pairs
            for at, end in zip(near, far, strict=True)
        )
        return cycles(pairs, depths)


class Outliner:
    """Walks over one authority; `clock` counts seconds and never goes back."""

    def __init__(self, authority: Outlining, clock: Callable[[], float]) -> None:
        self._authority = authority
        self._clock = clock

    async def steps(
        self, course: Course, viewer: Viewer, only: Only, answers: Callable[[], Awaitable[object]]
    ) -> AsyncGenerator[Step, None]:
        """Walk level by level; `answers` raises where the root does not answer here."""
        asked = Asked(course.direction, viewer, only.types, only.lifecycles)
        deadline = self._clock() + course.budget.seconds
        # O1
        try:
            async with asyncio.timeout(course.budget.seconds):
                swept = await self._authority.sweep(course.root, asked, course.budget.depth)
        except TimeoutError:
            swept = Sweep(registered=False, links=None)
        if swept.registered:
            course.read = swept.watermark
        else:
            await answers()
        yield Step(0, course.frontier)
        if swept.links is not None:
            steps = course.glide(swept.links)
            if steps is not None:
                for step in steps:
                    yield step
                return
        while course.frontier:
            yield course.advance(*await self._survey(course, asked, deadline))

    # O2

    async def _survey(self, course: Course, asked: Asked, deadline: float) -> tuple[Outline, str]:
        if course.edges_left <= 0:
            return _NOTHING, BUDGET
        limit = min(course.edges_left, MAX_EDGES)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await self._authority.survey(course.level(), asked, limit), BUDGET
        except TimeoutError:
            return _NOTHING, TIMEOUT
        except Unavailable:
            return _NOTHING, UNAVAILABLE


def whole(steps: Sequence[Step], course: Course) -> Iterator[bytes]:
    """Yield a trace as one JSON object, in pieces."""
    yield encode(_head(course))[:-1] + b',"nodes":['
    yield b",".join([step.listed for step in steps if step.nodes])
    yield b'],"edges":['
    first = True
    for step in steps:
        if step.texts:
            yield (b"" if first else b",") + step.links
            first = False
    tail: JsonObject = {}
    hidden = [item for step in steps for item in step.hidden]
    if hidden:
        tail["blinded"] = hidden
    lacking = {json.dumps(item): item for step in steps for item in step.lacking}
    tail["broken"] = list(lacking.values())
    yield b"]," + encode({**tail, **_end(steps, course)})[1:]


def last(steps: Sequence[Step], course: Course) -> bytes:
    """Return the last line of a stream: what only the whole can tell."""
    return encode({**_head(course), **_end(steps, course)}) + b"\n"


def _head(course: Course) -> JsonObject:
    return {"root": course.root.text, "direction": course.direction}


def _end(steps: Sequence[Step], course: Course) -> JsonObject:
    continuations: JsonObject = {"continuations": course.continuations}
    return {
        **(continuations if course.continuations else {}),
        "cycles": [list(part) for part in course.cycles()],
        "truncated": any(code in CUT_SHORT for step in steps for _, code in step.broken),
        "verified": False,
    }
