"""`tierlink trace`: the walk over links, as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, Url
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import Edge, Node, Trace


def trace(
    identifier: Annotated[str, typer.Argument(help="Where the walk begins.")],
    *,
    direction: Annotated[
        str, typer.Option("--direction", "-d", help="upstream (made of) or downstream (goes into).")
    ] = "upstream",
    depth: Annotated[int | None, typer.Option(min=1, help="How many links away at most.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many nodes at most.")] = None,
    purpose: Annotated[
        str | None, typer.Option(help="What for, where a grant opens links for that alone.")
    ] = None,
    deadline_ms: Annotated[
        int | None,
        typer.Option(min=1, max=60_000, help="Milliseconds after which the walk ends."),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Only links that held at this time (RFC 3339).")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Only what the node knew at this time (RFC 3339).")
    ] = None,
    across: Annotated[
        bool, typer.Option(help="Go on at the nodes of other companies, or say where to.")
    ] = True,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Walk the links of an identifier across tiers, and print what was found as a tree.

    Every link is verified where there is a trust bundle (trust.json in TIERLINK_DATA_DIR). What was
    met before is named again with an arrow and not unfolded. A walk that could not be
    finished is printed as far as it went, and says where it ended. What other nodes walked is
    sealed by them, and said to be theirs.
    """
    if direction not in ("upstream", "downstream"):
        raise typer.BadParameter(
            f"{direction} is neither upstream nor downstream", param_hint="--direction"
        )
    session = Session(url, speaker)
    opened = session.reader() if session.trust_path.exists() else session.plain()
    with opened as client, display.waiting(f"walking {direction}"):
        found = client.trace(
            identifier,
            direction=direction,
            depth=depth,
            limit=limit,
            named=session.named,
            purpose=purpose,
            at=at,
            as_of=as_of,
            across=across,
            deadline_ms=deadline_ms,
        )
    if as_json:
        display.machine_bytes(found.raw)
        return
    for line in tree(found):
        display.show(line)
    _summary(found)


def _summary(found: Trace) -> None:
    mutual = sum(edge.state == "mutual" for edge in found.edges)
    display.show(
        f"{len(found.nodes)} identifiers, {len(found.edges)} links of which {mutual} mutual"
    )
    _parts(found)
    if found.blinded:
        count = len({item.far for item in found.blinded})
        display.show(("hidden", "yellow"), f" {count} more, which are not for this caller to know")
    for item in found.broken:
        asked = f" of {item.node}" if item.node else ""
        display.show(("incomplete", "yellow"), f" at {item.identifier}: {item.code}{asked}")
    for further in found.continuations:
        display.show(("goes on", "yellow"), f" at {further.node} from {further.identifier}")
    for cycle in found.cycles:
        display.show(("cycle", "yellow"), f" {' → '.join(cycle)}")


def _parts(found: Trace) -> None:
    """Say which nodes told of something, each with the prefixes in whose names it sealed that."""
    sealed: dict[str, dict[str, None]] = {}
    for part in found.parts:
        sealed.setdefault(part.node, {})[part.by] = None
    for node, prefixes in sealed.items():
        count = sum(item.node == node for item in found.nodes)
        display.show(f"{node} told of {count} identifiers ({', '.join(prefixes)})")


def tree(found: Trace) -> Iterator[str]:
    """Yield the lines of a trace as a tree; a node is unfolded where it is met first."""
    nodes = {node.identifier: node for node in found.nodes}
    below: dict[str, list[Edge]] = {}
    for edge in found.edges:
        below.setdefault(edge.ends(found.direction)[0], []).append(edge)
    met = {found.root}
    yield f"{found.root}{_about(nodes.get(found.root))}"
    # A stack of our own: (guide, links that are left), so that no depth is too deep.
    stack = [("", iter(_ordered(below, found.root, found.direction)))]
    while stack:
        guide, rest = stack[-1]
        step = next(rest, None)
        if step is None:
            stack.pop()
            continue
        edge, far, last = step
        again = far in met
        yield f"{guide}{'└─ ' if last else '├─ '}{_line(edge, far, nodes.get(far), again=again)}"
        if not again:
            met.add(far)
            deeper = guide + ("   " if last else "│  ")
            stack.append((deeper, iter(_ordered(below, far, found.direction))))


def _ordered(
    below: dict[str, list[Edge]], near: str, direction: str
) -> list[tuple[Edge, str, bool]]:
    edges = sorted(below.get(near, ()), key=lambda edge: edge.ends(direction)[1])
    return [
        (edge, edge.ends(direction)[1], index == len(edges) - 1) for index, edge in enumerate(edges)
    ]


def _line(edge: Edge, far: str, node: Node | None, *, again: bool) -> str:
    amount = f" {edge.quantity.value} {edge.quantity.unit}" if edge.quantity else ""
    said = "" if edge.state == "mutual" else f" [{edge.state}]"
    return f"{far}{' ↑ above' if again else _about(node)}  {edge.link_type}{amount}{said}"


def _about(node: Node | None) -> str:
    if node is None or (node.kind, node.status) == (None, "unknown"):
        return ""
    status = "" if node.status in (None, "active") else f" {node.status}"
    return f" ({node.kind or 'unknown'}{status})" if node.kind or status else ""
