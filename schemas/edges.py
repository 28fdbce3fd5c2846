"""Links as listings and traces show them, checked against what their ends signed.

    E1  the statements of an edge, one or two, verify under the chains of their ends    E_…
    E2  they are of one link, one of each end, and an end stands behind it           E_LINK
    E3  the plain members are what they compose to; a link shown in another state
        than its ends give it is E_LINK                                    E_ANSWER, E_LINK

An edge is a JSON object: the members of `answer.edge_view`, and `assertions`, the envelopes of
what each end that ever spoke said last. A withdrawal is among them: it is what proves the state
`withdrawn`, as two assertions over one link key prove `mutual`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import canonical
from .answer import edge_view, parse_stated
from .canonical import JsonObject
from .chain import Chain, Trust, index
from .envelope import Envelope
from .errors import VerifyError
from .identifier import Prefix
from .link import SIDES, Assertion, Link, link_state, stands

MAX_EDGES = 100_000  # of one trace


@dataclass(frozen=True, slots=True)
class Shown:
    """An edge that verified: the link, what its ends say of it, and the envelopes."""

    link: Link
    said: tuple[Assertion, ...]
    envelopes: tuple[str, ...]
    state: str


def statements(entry: JsonObject) -> tuple[object, ...]:
    """Return the one or two envelopes behind an edge, unread; raise VerifyError."""
    tokens = entry.get("assertions")
    if not isinstance(tokens, list) or not 1 <= len(tokens) <= len(SIDES):
        raise VerifyError("E_LINK", "a link comes without the one or two statements behind it")
    return tuple(tokens)


def check_edge(entry: JsonObject, said: Sequence[Assertion]) -> Shown:
    """Take steps E2 and E3, the statements of the edge having verified; raise VerifyError."""
    # E2
    state = link_state(said)
    if not stands(said):
        raise VerifyError("E_LINK", "no end stands behind the link")
    # E3
    link = said[0].link
    view = edge_view(link, said)
    if entry.get("state") != state:
        raise VerifyError(
            "E_LINK", f"the ends make the link {state}, it is shown as another", value=link.key
        )
    for name, value in view.items():
        if name not in entry or canonical.encode(entry[name]) != canonical.encode(value):
            raise VerifyError("E_ANSWER", f"{name} is not what the ends say", value=name)
    if "occurrence" in entry and "occurrence" not in view:
        raise VerifyError("E_ANSWER", "occurrence is not what the ends say", value="occurrence")
    return Shown(link, tuple(said), tuple(map(str, statements(entry))), state)


def verify_edges(document: JsonObject, trust: Trust) -> tuple[Shown, ...]:
    """Verify the edges of a trace by the delegations it brings, offline; raise VerifyError.

    Nothing is said of what a trace leaves out, nor of the kind and status of its nodes: for those
    resolve the node.
    """
    proof, edges = document.get("proof"), document.get("edges")
    chain = proof.get("chain") if isinstance(proof, dict) else None
    if not isinstance(chain, list):
        raise VerifyError(
            "E_FORMAT", "the trace brings no proof.chain", fix="ask again without ?proof=none"
        )
    if not isinstance(edges, list) or len(edges) > MAX_EDGES:
        raise VerifyError("E_FORMAT", "edges is not an array of at most 100,000")
    chains = _Chains(trust, chain)
    return tuple(_edge(entry, chains) for entry in edges)


def _edge(entry: object, chains: _Chains) -> Shown:
    if not isinstance(entry, dict):
        raise VerifyError("E_FORMAT", "an edge is not an object")
    # E1
    return check_edge(entry, [parse_stated(token, chains.check) for token in statements(entry)])


class _Chains:
    """The chains of one document, each validated once."""

    def __init__(self, trust: Trust, tokens: Sequence[object]) -> None:
        self._trust = trust
        self._offered = index(tokens)
        self._known: dict[Prefix, Chain] = {}

    def check(self, envelope: Envelope, prefix: Prefix, issued_at: int, kind: str | None) -> None:
        if prefix not in self._known:
            self._known[prefix] = self._trust.chain(prefix, self._offered)
        self._known[prefix].check_speaker(envelope, prefix, issued_at, kind)
