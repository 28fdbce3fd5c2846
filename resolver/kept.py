"""Traces that are kept: the same public question is answered again from the first cache.

    K1  kept is what anybody is told, whole, of this node alone: for nobody by name, with no
        pseudonym (they are of one trace), nothing of other nodes and nothing lost to a time-out
    K2  it depends on each identifier that it shows, and on the delegations of their prefixes:
        whatever changes one of them, a link or a grant too, touches its tag (`tags`)
    K3  what changes by time alone it outlives by less than the staleness bound
    K4  who asks while the same is being walked waits for it

So the front door has it from then on, in bytes, under the rule of freshness of any other answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from schemas.change import Watermark

from . import tags
from .answers import Answer, Answers, Head
from .asgi import JSON
from .blocks import Negotiate
from .render import Form

# Keeps a body that shows these identifiers; the watermark is where the first of its readings
# stood, and those after it stood there or later.
Keep = Callable[[bytes, Iterable[str], Watermark], None]

MAX_KEPT = 256 * 1024  # bytes of a body

COMMON: Final = (  # headers of every trace
    (b"cache-control", b"no-store"),
    (b"vary", b"accept, authorization"),
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
)
_HEAD = Head(200, [(b"content-type", JSON), *COMMON])


class Kept:
    """Owns no answers itself: they are in the store that the front door reads."""

    def __init__(self, answers: Answers, negotiate: Negotiate, seconds: float) -> None:
        """`negotiate` is the front door's, `seconds` what an answer is kept for at most."""
        self._answers = answers
        self._negotiate = negotiate
        self._seconds = seconds
        self._walks: dict[bytes, asyncio.Future[None]] = {}  # under way, the first of each

    def fits(self, accept: bytes | None) -> bool:
        """Tell whether the front door would look for this Accept where traces are kept."""
        return self._negotiate(accept) == Form.JSON

    async def find(self, target: bytes) -> Answer | None:
        """Return what is kept, K4: once nobody walks for it any more; None where there is none."""
        found = self._answers.get(target, Form.JSON)
        if found is not None or target not in self._walks:
            return found
        await asyncio.wait([self._walks[target]])
        return self._answers.get(target, Form.JSON)

    @contextmanager
    def walking(self, target: bytes) -> Iterator[Keep]:
        """Let others wait for a walk that begins now; yield how to keep what it finds."""
        began, done = self._answers.clock(), asyncio.get_running_loop().create_future()
        if target not in self._walks:
            self._walks[target] = done
        try:
            yield partial(self._keep, target, began)
        finally:
            if self._walks.get(target) is done:
                del self._walks[target]
            done.set_result(None)

    def _keep(
        self, target: bytes, began: float, body: bytes, shown: Iterable[str], read: Watermark
    ) -> None:
        # K2, K3
        if len(body) > MAX_KEPT:
            return
        answer = Answer(
            _HEAD,
            body,
            tags=tags.of_identifiers(shown),
            filled=read.position,
            expires=began + self._seconds,
        )
        self._answers.put(target, Form.JSON, answer, read.epoch)


def let_go(_body: bytes, _shown: Iterable[str], _read: Watermark) -> None:
    """Keep nothing."""
