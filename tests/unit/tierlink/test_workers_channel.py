"""What travels between the parent and a worker, however the socket cuts it."""

import asyncio
import socket

import pytest
from hypothesis import given, strategies as st

from schemas.change import Batch, Canary, Change, Op, Watermark
from tierlink.workers import channel
from tierlink.workers.channel import Channel, Handed, Kind, Message, Reader, pack

positions = st.integers(0, 10**18 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
watermarks = st.builds(Watermark, st.text("ab.:1-", min_size=1, max_size=8), positions)
changes = st.builds(Change, positions, st.sampled_from(Op), texts, st.integers(0, 2**63), texts)
batches = st.builds(
    Batch,
    st.lists(changes, max_size=5).map(tuple),
    watermarks,
    st.booleans(),
    st.none() | st.builds(Canary, positions, st.floats(0, 1e6)),
)
times = st.floats(0, 1e9)
handed = st.builds(Handed, st.none() | watermarks, batches, times, st.none() | positions)


@given(st.lists(handed, max_size=4), st.lists(st.integers(1, 200)))
def test_what_was_handed_on_is_what_arrives(sent, cuts):
    data = b"".join(each.pack() for each in sent)
    reader, got = Reader(), []
    for cut in (*cuts, len(data)):
        got += reader.feed(data[:cut])
        data = data[cut:]
    assert [message.kind for message in got] == [Kind.CHANGES] * len(sent)
    assert [Handed.read(message.body) for message in got] == sent


def test_a_message_is_its_length_its_kind_and_json():
    assert pack(Kind.STOP, 2) == b"\x00\x00\x00\x01\x062"
    assert pack(Kind.JOIN) == b"\x00\x00\x00\x04\x02null"


@pytest.mark.parametrize("wrong", [b"\xff\xff\xff\xff\x01", b"\0\0\0\1\x632", b"\0\0\0\1\x01{"])
def test_what_is_no_message_is_refused(wrong):
    with pytest.raises(ValueError):  # noqa: PT011  (of the standard library, in its own words)
        list(Reader().feed(wrong))


async def test_messages_in_order_then_the_end():
    ours, theirs = socket.socketpair()
    parent, worker = Channel(), Channel()
    heard: list[Message] = []
    over = asyncio.Event()
    worker.heard, worker.ended = heard.append, over.set
    worker.send(pack(Kind.JOIN))  # to nobody yet
    await parent.open(ours)
    await worker.open(theirs)
    for number in range(100):
        parent.send(pack(Kind.REPORT, number))
    while len(heard) < 100:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert [message.body for message in heard] == list(range(100))
    parent.close()
    async with asyncio.timeout(5):
        await over.wait()
    worker.send(pack(Kind.HINT))  # to nobody any more
    worker.close()


async def test_what_a_worker_does_not_take_is_pending():
    ours, theirs = socket.socketpair()
    parent = Channel()
    assert parent.pending == 0
    await parent.open(ours)
    parent.send(pack(Kind.SCRAPED, [1, "x" * 4_000_000]))
    assert parent.pending > 1_000_000
    parent.close()
    theirs.close()


def test_the_number_of_the_format_is_raised_with_it():
    """A new worker under an old parent refuses to begin; it can, only if somebody counts."""
    layout = pack(Kind.CHANGES, [None, "a.1", False, 1.5, None, None, []])
    assert Handed(None, Batch((), Watermark("a", 1)), 1.5).pack() == layout
    assert channel.FORMAT == 1
