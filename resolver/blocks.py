"""HOT: what a header block means, learned from requests that the real parser has read.

Standard library only, like `resolver.answers`, and for the same reason.

A client repeats its header block byte for byte. So a block whose meaning the parser has told once
needs no parsing again: the same bytes after the same kind of request line are the same headers.
A block may be learned if nothing in it changes the answer but Accept. If-None-Match, different for
each resource, is cut out before a block is learned and before it is looked up.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from typing import NamedTuple

from .answers import Answer, Answers

Negotiate = Callable[[bytes | None], int | None]
Find = Callable[[bytes], Answer | None]
Parsed = list[tuple[bytes, bytes]]

FIRST_SIGHTINGS = 4096
# Headers that ask for more than the representation. What is not named here changes no answer.
_UNUSUAL = re.compile(
    rb"authorization|connection|content-.*|expect|host|http2-settings|if-.*|range|tierlink-.*"
    rb"|trailer|transfer-encoding|upgrade|x-http-method.*|x-method-override"
)
# Of the requests that are understood without the parser, those for what may be an identifier: it
# begins with a digit, has no query, and nothing in it that a parser would stumble over.
_ASKING = re.compile(rb"(GET|HEAD) (/[0-9][A-Za-z0-9\-._~%!$&'()*+,;=:@/]{0,3071}) HTTP/1\.1")
_PLAIN = re.compile(rb"[\x20-\x7e]*")


class Question(NamedTuple):
    """What a request asks for, told without the parser."""

    target: bytes
    variant: int
    method: bytes
    if_none_match: bytes | None


def cut_condition(block: bytes) -> tuple[bytes, bytes] | None:
    """Return a header block without its first If-None-Match line, and that line's value.

    In the two spellings of clients: with any other, the application answers.
    """
    before, found, rest = block.partition(b"If-None-Match: ")
    if not found:
        before, found, rest = block.partition(b"if-none-match: ")
    value, end, after = rest.partition(b"\r\n")
    # In a line that ends, and not the end of a longer name.
    return (before + after, value) if end and before[-1:] in b"\n" else None


class Blocks:
    """A bounded table: header block -> the table of answers that it asks.

    A block is learned when it is seen for the second time, so that clients which put something
    different into each request cannot push out the blocks of those who do not.
    """

    def __init__(self, answers: Answers, negotiate: Negotiate, most: int, largest: int) -> None:
        self._answers = answers
        self._negotiate = negotiate
        self._most = most
        self._largest = largest
        self._sightings = array("q", bytes(8 * FIRST_SIGHTINGS))
        self.known: dict[bytes, Find] = {}
        self._variants: dict[bytes, int] = {}  # of the same blocks

    def learn(self, request: bytes, headers: Parsed) -> None:
        """Remember the block of a GET or HEAD; `headers` is what the parser made of all of it."""
        if not request.startswith((b"GET ", b"HEAD ")):
            return
        line, _, block = request.partition(b"\r\n")
        if not line.endswith(b" HTTP/1.1"):
            return
        cut = cut_condition(block)
        if cut is not None:
            block = cut[0]
            headers = [pair for pair in headers if pair[0] != b"if-none-match"]
        if block in self.known or len(block) > self._largest or not self._sighted(block):
            return
        variant = self._meaning(block, headers, conditional=cut is not None)
        if variant is None:
            return
        if len(self.known) >= self._most:
            oldest = next(iter(self.known))
            del self.known[oldest], self._variants[oldest]
        self.known[block] = self._answers.table(variant).get
        self._variants[block] = variant

    def question(self, request: bytes) -> Question | None:
        """Read one complete head whose block is known; None where the parser has to read it."""
        line, _, block = request.partition(b"\r\n")
        found = _ASKING.fullmatch(line)
        if found is None:
            return None
        condition = None
        variant = self._variants.get(block)
        if variant is None:
            cut = cut_condition(block)
            if cut is None:
                return None
            block, condition = cut
            variant = self._variants.get(block)
            if variant is None or not _PLAIN.fullmatch(condition):
                return None
        return Question(found[2], variant, found[1], condition)

    def _sighted(self, block: bytes) -> bool:
        """Tell whether the block was seen before, and remember that it was seen now."""
        mark = hash(block)
        at = mark % FIRST_SIGHTINGS
        seen = self._sightings[at] == mark
        self._sightings[at] = mark
        return seen

    def _meaning(self, block: bytes, headers: Parsed, *, conditional: bool) -> int | None:
        """Return the variant that is asked for; None where a block is not for the fast path."""
        # A second condition left in the block would be taken for part of its meaning.
        if conditional and b"if-none-match" in block.lower():
            return None
        # The parser refuses folded lines and bare line feeds; cutting a line out relies on it.
        lines = block.split(b"\r\n")
        if any(
            not line or line[0] in b" \t" or b"\n" in line or b"\r" in line for line in lines[:-2]
        ):
            return None
        accepts = [value for name, value in headers if name == b"accept"]
        if len(accepts) > 1 or not all(_usual(name, value) for name, value in headers):
            return None
        if sum(name == b"host" for name, _ in headers) != 1:
            return None
        return self._negotiate(accepts[0] if accepts else None)


def _usual(name: bytes, value: bytes) -> bool:
    if name == b"connection":
        return value.lower() == b"keep-alive"
    return name == b"host" or _UNUSUAL.fullmatch(name) is None
