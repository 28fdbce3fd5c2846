"""The local source of a recursive node, which holds nothing: every prefix is another node's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.change import Batch, Watermark
from schemas.disclosure import Marked
from schemas.errors import NoLog, Unauthenticated
from schemas.identifier import Identifier, Prefix
from schemas.source import Edges, Fetched, Found, Proved, State
from schemas.viewer import ANYBODY, Near, Viewer
from schemas.when import NOW, When

# Nothing ever changes here, so one point of one history is always the newest. Above 0, since an
# answer is newer than a change that never was.
ALWAYS: Final = Watermark("nothing", 1)


class Nothing:
    """A source without data: it refers to others, by way of the node of the root."""

    async def fetch(
        self, identifiers: Sequence[Identifier], *, whole: bool = True, viewer: Viewer = ANYBODY
    ) -> Fetched:
        """Say of each identifier that it is elsewhere."""
        del whole, viewer
        return Fetched({item: Found(item, State.FOREIGN) for item in identifiers}, (), ALWAYS)

    async def edges(
        self,
        level: Sequence[Near],
        direction: str,
        limit: int,
        viewer: Viewer = ANYBODY,
        *,
        when: When = NOW,
    ) -> Edges:
        """Return no links."""
        del level, direction, limit, viewer, when
        return Edges((), (), ALWAYS)

    async def disclosures(self, versions: Sequence[tuple[Identifier, int]]) -> tuple[Marked, ...]:
        """Return nothing that records hide."""
        del versions
        return ()

    async def caller(self, authorization: str) -> Prefix:
        """Refuse: nobody has an API key of this node."""
        del authorization
        raise Unauthenticated(
            "this node knows no API keys", fix="send them to the node that serves the prefix"
        )

    async def prove(self, identifier: Identifier, at: int | None = None) -> Proved:
        """Refuse: no log is kept."""
        del at
        raise NoLog(
            "this node keeps no log",
            value=identifier.text,
            fix="ask the node that serves the prefix",
        )

    async def changes(self, after: Watermark | None) -> Batch:
        """Say that nothing changed."""
        del after
        return Batch((), ALWAYS)
