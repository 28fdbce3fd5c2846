"""A node and three witnesses, processes of their own that find each other by files."""

import contextlib
import json
import time

import pytest

from schemas.checkpoint import NoteKey, quorum, verify_note
from tests.e2e.node import node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for
from tests.witnesses import Process


@pytest.fixture
def world():
    """The witnesses with what stops each, and a node whose checkpoints two of them must cosign."""
    with short_folder() as folder, contextlib.ExitStack() as stack:
        vkey = folder / "log.vkey"
        witnesses = [Process(folder / f"w{n}", f"witness-{n}.example", logs="") for n in range(3)]
        stops = []
        for witness in witnesses:
            stops.append(stack.enter_context(contextlib.ExitStack()))
            stops[-1].enter_context(witness.running(TIERLINK_WITNESS_LOGS_FILE=str(vkey)))
        running = stack.enter_context(
            node(
                folder / "node",
                TIERLINK_SAMPLE="none",
                TIERLINK_LOG_ORIGIN="log.example/tierlink",
                TIERLINK_LOG_VKEY_FILE=str(vkey),
                TIERLINK_LOG_EPOCH_SECONDS="0.2",
                TIERLINK_LOG_QUORUM="2",
                TIERLINK_LOG_WITNESSES=", ".join(f"{w.url} @{w.vkey_file}" for w in witnesses),
            )
        )
        yield running, NoteKey.parse(vkey.read_text().strip()), witnesses, stops


class Followed:
    """The newest checkpoint of a node, verified."""

    def __init__(self, running, log, witnesses):
        self.running, self.log = running, log
        self.keys = [witness.key for witness in witnesses]

    def read(self):
        with self.running.client() as client:
            reply = client.get("/v1/log/checkpoint")
        if reply.status_code != 200:
            return 0, set()
        checkpoint, cosignatures = verify_note(reply.text, self.log, self.keys)
        quorum(cosignatures, 2, int(time.time()), 60)
        return checkpoint.size, {item.name for item in cosignatures}

    def grow(self, prefix):
        """Allocate a prefix, which is a leaf, and tell whether a checkpoint comes to cover it."""
        before, _ = self.read()
        key = json.loads((self.running.data_dir / "operator.json").read_text())["api_key"]
        with self.running.client(headers={"authorization": f"Bearer {key}"}) as client:
            body = {"prefix": prefix, "organisation": {"name": "Gear"}}
            assert client.post("/v1/prefixes", json=body).status_code == 201
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline and self.read()[0] <= before:
            time.sleep(0.05)
        size, names = self.read()
        return names if size > before else None


def test_two_of_three_must_cosign(world):
    running, log, witnesses, stops = world
    followed = Followed(running, log, witnesses)
    names = {witness.name for witness in witnesses}
    wait_for(lambda: followed.read()[0] > 0, what="the first checkpoint")
    assert followed.grow("88") == names
    stops[0].close()
    assert followed.grow("89") == names - {witnesses[0].name}
    stops[1].close()
    assert followed.grow("90") is None  # one is no quorum: nothing is published
    with witnesses[0].running(TIERLINK_WITNESS_LOGS_FILE=str(running.data_dir.parent / "log.vkey")):
        # it missed some, and is brought up to date
        wait_for(lambda: followed.read()[1] == names - {witnesses[1].name}, what="the quorum")
        assert followed.grow("91") == names - {witnesses[1].name}
