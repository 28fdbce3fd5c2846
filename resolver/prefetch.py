"""Reads hot answers again before somebody has to wait for them.

    a change touched it          once the change is applied, at once
    it turns, by its own dates   at the moment at which it does: before, there is only the old one

Hot is what was served since one of the last few polls that brought a change. Whoever asks meanwhile
joins the read that is under way. What fails is left to the next request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf

from schemas.change import Change, Op
from schemas.errors import BadIdentifier, TierlinkError
from schemas.identifier import Identifier

from .answers import Answer, Answers
from .metrics import Metrics

HOT = 8  # generations
MOST = 256  # answers at a time
TURNING = 10_000  # answers whose own moment is waited for

_OWN = frozenset({Op.RECORD, Op.LINK, Op.RULE})

_PLAIN = re.compile(r"[0-9A-Za-z._~/!$&'()*+,;=:@-]+")  # its own path: nothing is escaped

_log = logging.getLogger(__name__)

Refill = Callable[[Identifier, int], Awaitable[None]]


class Prefetch:
    """For one event loop; `refill` reads an identifier and keeps its answer in a form."""

    def __init__(
        self, answers: Answers, forms: Collection[int], refill: Refill, metrics: Metrics
    ) -> None:
        self._answers = answers
        self._forms = forms
        self._refill = refill
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._turning = 0
        self._count = metrics.counter(
            "tierlink_prefetched_total", "Hot answers read again before they were asked for."
        )

    def heard(self, changes: Sequence[Change]) -> None:
        """Read again what is hot of what these changes are about; they are applied."""
        texts = dict.fromkeys(
            text for item in changes if item.op in _OWN for text in (item.about, item.also) if text
        )
        for text in texts:
            if self._under_way >= MOST:
                return
            try:
                target = _target_of(text)
            except BadIdentifier:
                continue  # of a later release; nobody can have asked for it
            for form in self._forms:
                answer = self._answers.table(form).get(target)
                if answer is not None and self._is_hot(answer):
                    self._start(Identifier.parse(text), form)

    def kept(self, identifier: Identifier, form: int, answer: Answer) -> None:
        """Take note of an answer that is kept under the path alone, for when it turns."""
        if answer.expires == inf or self._turning >= TURNING:
            return
        self._turning += 1
        seconds = max(0.0, answer.expires - self._answers.clock())
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._turn, identifier, form, answer)

    def _turn(self, identifier: Identifier, form: int, answer: Answer) -> None:
        self._turning -= 1
        there = self._answers.table(form).get(_target(identifier))
        if there is answer and self._is_hot(answer) and self._under_way < MOST:
            self._start(identifier, form)

    def _is_hot(self, answer: Answer) -> bool:
        return answer.seen >= max(0, self._answers.generation - HOT)

    def _start(self, identifier: Identifier, form: int) -> None:
        self._under_way += 1
        task = asyncio.get_running_loop().create_task(self._again(identifier, form))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, identifier: Identifier, form: int) -> None:
        try:
            await self._refill(identifier, form)
            self._count.add()
        except TierlinkError as err:
            _log.debug("%s was not read again: %s", identifier, err)
        finally:
            self._under_way -= 1


def _target_of(text: str) -> bytes:
    """Return the path of an identifier by its text; raise BadIdentifier."""
    if _PLAIN.fullmatch(text):  # nearly every one, and an import brings thousands of them
        return b"/" + text.encode()
    return _target(Identifier.parse(text))


def _target(identifier: Identifier) -> bytes:
    return b"/" + identifier.path.encode()
