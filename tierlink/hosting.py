"""`tierlink resolver`: alone in this process, or as the parent of several workers."""

from __future__ import annotations

import socket

import uvloop

from resolver.metrics import Metrics
from tierlink import server
from tierlink.node import Node, say
from tierlink.workers.herald import Herald
from tierlink.workers.supervisor import Supervisor

POOL = 2  # connections of the parent: it polls, and reads nothing else


def run(workers: int | None = None) -> int:
    """Run a resolver until told to stop; `workers` overrides TIERLINK_WORKERS."""
    server.log_plainly()
    node = Node.read()
    count = node.node.workers if workers is None else workers
    sockets = server.listen(node.node.host, node.node.port)
    try:
        with node.database() as url:
            if count == 1:
                from tierlink.resolving import alone  # noqa: PLC0415  (much, and not the parent's)

                uvloop.run(alone(node, url, sockets))
            else:
                uvloop.run(_supervise(node, url, sockets, count))
    finally:
        for bound in sockets:
            bound.close()
    return 0


async def _supervise(node: Node, url: str, sockets: list[socket.socket], count: int) -> None:
    metrics = Metrics()
    supervisor = Supervisor(
        sockets,
        {"database_url": url},
        metrics,
        count=count,
        ending=node.ending(),
        lasting=node.lame_duck + server.GRACE_SECONDS,
    )
    await supervisor.begin()
    # While the workers load what they need, so does their parent.
    from tierlink.database import sourced  # noqa: PLC0415

    async with sourced(node, url, POOL) as (_, reader):
        settings = node.resolver
        herald = Herald(reader, lease=settings.lease, period=settings.poll_period, metrics=metrics)
        base = server.url_of(sockets[0], node.node.host)
        await supervisor.run(herald, lambda: say(f"tierlink ready {base}"))
