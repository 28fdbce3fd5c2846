"""`tierlink federation`: four nodes to try; `tierlink deliveries`: what is on its way to others."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, Url
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import OnItsWay


def federation(
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_532,
            show_default="8090, or as it was",
            help="Port of the root, the other three follow it; 0 takes free ones.",
        ),
    ] = None,
) -> None:
    """Run a network of four nodes on this machine, in the foreground, to try and to show.

    A root, a secondary node and two enterprises, each a process with a database of its own under
    TIERLINK_DATA_DIR/federation, with the sample supply chain spread over them. Ctrl-C ends all
    four; the next start goes on with what is there.
    """
    raise typer.Exit(asyncio.run(_run(port)))


async def _run(port: int | None) -> int:
    from tierlink.node import say
    from tierlink.sandbox.chain import spread
    from tierlink.sandbox.network import Network
    from tierlink.sandbox.tour import told
    from tierlink.settings import NodeSettings, load

    network = Network(load(NodeSettings).data_dir / "federation", port)
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_end.set)

    async def work() -> int:
        say("starting four nodes")
        await network.start()
        named = await spread(network, say)
        say(told(network, named))
        say("federation ready")
        while name := await network.ended():
            say(f"the node {name} ended; the others go on without it")
        return 1

    working = asyncio.create_task(work())
    ending = asyncio.create_task(told_to_end.wait())
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else 0
    finally:
        for task in (working, ending):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await network.stop()


def deliveries(*, url: Url = None, speaker: As = None, as_json: Json = False) -> None:
    """List one's own statements of links that nodes of other ends were not told of yet, and why."""
    with Session(url, speaker).writer() as client:
        found = client.deliveries()
    if as_json:
        display.machine({"deliveries": [_row(item) for item in found]})
        return
    if not found:
        display.show("everything is delivered")
    for item in found:
        display.table(
            {
                "to": item.far,
                "side": item.side,
                "attempts": item.attempts,
                "next": item.due_at or "never: it was refused for good",
                "failure": item.failure or "not tried yet",
            }
        )


def _row(item: OnItsWay) -> dict[str, object]:
    return {
        "link_key": item.link_key,
        "side": item.side,
        "far": item.far,
        "attempts": item.attempts,
        "due_at": item.due_at,
        "failure": item.failure,
    }
