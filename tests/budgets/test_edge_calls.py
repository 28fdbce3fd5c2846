"""A cached answer costs at most 4 Python calls, from the bytes received to the bytes written.

One that is asked for elsewhere costs the edge itself some thirty: no parser, no task, no cycle.
"""

import asyncio
import gc
import sys
from math import inf

import pytest
from uvicorn.server import ServerState

from resolver.answers import Answer, Answers, Head
from resolver.edge import make_protocol
from tierlink import server

REQUEST = b"GET /88.1/A HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"
CONDITIONAL = REQUEST[:-2] + b'If-None-Match: "1.a"\r\n\r\n'
HEAD_REQUEST = b"HEAD" + REQUEST[3:]
MOST = 4
MOST_ASKED = 30  # of the edge, beside what is asked


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)

    def get_extra_info(self, _name, default=None):
        return default

    def close(self):
        pass

    def is_closing(self):
        return False

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


@pytest.fixture
async def connection():
    """A connection over one kept answer, whose header blocks are known."""
    answers = Answers(1 << 20)
    answers.advance(1, inf, changed=False)
    head = Head(200, [(b"content-type", b"application/json")])
    kept = Answer(head, b'{"a":1}', etag=b'"1.a"', tags=[b"i88.1/A"], filled=1)
    answers.put(b"/88.1/A", 0, kept, "")

    async def app(scope, _receive, send):
        for message in kept.asgi(scope["method"], dict(scope["headers"]).get(b"if-none-match")):
            await send(message)

    asked = []

    def ask(_target, _variant, told):
        asked.append(told)
        return True

    config = server.configured(app, make_protocol(answers, lambda _accept: 0, ask=ask))
    config.load()
    protocol = config.http_protocol_class(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    for request in (REQUEST, CONDITIONAL, HEAD_REQUEST) * 3:  # learned at the second sight
        protocol.data_received(request)
        await asyncio.sleep(0.01)
    wire.asked, wire.kept = asked, kept
    yield protocol, wire, answers
    protocol.connection_lost(None)


def calls_of(work):
    calls = []

    def profile(frame, event, _arg):
        if event == "call":
            calls.append(frame.f_code.co_qualname)

    gc.disable()  # what others left behind is nobody's call
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(REQUEST, b"200"), (CONDITIONAL, b"304"), (HEAD_REQUEST, b"200")],
    ids=["GET", "conditional", "HEAD"],
)
async def test_a_hit_costs_at_most_four_calls(connection, request_bytes, status):
    protocol, wire, answers = connection
    wire.written.clear()
    answers.today()  # made once a second, and not counted here
    hits = answers.hits + answers.not_modified
    calls = calls_of(lambda: protocol.data_received(request_bytes))
    ours = [name for name in calls if not name.startswith(("Wire.", "test_", "calls_of"))]
    assert b"".join(wire.written).startswith(b"HTTP/1.1 " + status)
    assert answers.hits + answers.not_modified > hits, "the application answered"
    assert len(ours) <= MOST, ours


async def test_both_paths_write_the_same_bytes(connection):
    protocol, wire, answers = connection
    for request in (REQUEST, CONDITIONAL, HEAD_REQUEST):
        wire.written.clear()
        protocol.data_received(request)
        fast = b"".join(wire.written)
        wire.written.clear()
        # A header that was never seen before: the application answers.
        protocol.data_received(request[:-2] + b"X-New: %d\r\n\r\n" % len(fast))
        await asyncio.sleep(0.01)
        assert b"".join(wire.written) == fast
    assert answers.hits


async def test_an_answer_that_is_asked_for_costs_a_few_dozen_calls(connection):
    protocol, wire, _ = connection
    wire.written.clear()

    def work():
        protocol.data_received(REQUEST.replace(b"/88.1/A", b"/88.1/B"))
        wire.asked[0](wire.kept)

    calls = calls_of(work)
    ours = [name for name in calls if not name.startswith(("Wire.", "test_", "calls_of"))]
    assert b"".join(wire.written).endswith(wire.kept.body)
    assert len(ours) <= MOST_ASKED, ours
