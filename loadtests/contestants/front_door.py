"""The front door over a full store of answers: `front_door.py PORT IDENTIFIERS`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import uvloop
from benchmarks import bodies

from resolver.answers import Answer, Answers, Head, target_of
from resolver.edge import make_protocol
from tierlink import server

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
HEAD = Head(200, bodies.HEADERS)

answers = Answers(1 << 30)
answers.advance(1, inf, changed=False)
for number in range(COUNT):
    answers.put(
        bodies.target(number).encode(),
        0,
        Answer(
            HEAD,
            bodies.body(number),
            etag=bodies.etag(number),
            tags=[b"%d.%d" % (number, nth) for nth in range(6)],
            filled=1,
        ),
        "",
    )


async def app(
    scope: dict[str, object],
    _receive: object,
    send: Callable[[dict[str, object]], Awaitable[None]],
) -> None:
    """Answer from the same store, as the service does on a request the front door passes on."""
    headers = dict(scope["headers"])  # type: ignore[call-overload]
    target = target_of(scope["raw_path"], scope["query_string"])  # type: ignore[arg-type]
    answer = answers.get(target, 0) or Answer(Head(404, ()), b"")
    for message in answer.asgi(str(scope["method"]), headers.get(b"if-none-match")):
        await send(message)


protocol = make_protocol(answers, lambda _accept: 0)
uvloop.run(server.serve(app, protocol, server.listen("127.0.0.1", PORT)))  # type: ignore[arg-type]
