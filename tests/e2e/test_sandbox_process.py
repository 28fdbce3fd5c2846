"""A node of a network ends with it, in whatever way that ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.authority import Authority
from tests.servers import accepts, free_port, wait_for
from tierlink.rootfile import write_versions
from tierlink.sandbox.process import NodeProcess

NETWORK = """
import asyncio, json, sys
from pathlib import Path
from tierlink.sandbox.process import NodeProcess

async def run(name, url, folder, settings):
    node = NodeProcess(name, url, Path(folder), settings)
    await node.start()
    print(node.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(run(**json.loads(sys.argv[1])))
"""


@pytest.fixture
def described(tmp_path):
    """A node that needs no database: one that holds nothing."""
    write_versions(tmp_path / "root.txt", [Authority().root_token])
    port = free_port()
    settings = {
        "TIERLINK_ROLE": "recursive",
        "TIERLINK_PORT": str(port),
        "TIERLINK_ROOT_FILE": str(tmp_path / "root.txt"),
        "TIERLINK_ROOT_URL": "http://127.0.0.1:9",
        "TIERLINK_PEERS_PRIVATE": "1",
        "TIERLINK_DRAIN_SECONDS": "0",
    }
    url = f"http://127.0.0.1:{port}"
    return port, {"name": "r", "url": url, "folder": str(tmp_path / "r"), "settings": settings}


def test_a_node_does_not_outlive_a_network_that_is_killed(described):
    port, node = described
    network = subprocess.Popen(
        [sys.executable, "-c", NETWORK, json.dumps(node)], stdout=subprocess.PIPE, text=True
    )
    pid = None
    try:
        pid = int(network.stdout.readline())
        assert accepts(port)
        network.kill()
        wait_for(lambda: not accepts(port), what="the node to end")
        pid = None
    finally:
        network.kill()
        network.wait()
        network.stdout.close()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


async def test_a_node_ends_when_it_is_told_to(described, tmp_path):
    port, node = described
    process = NodeProcess(node["name"], node["url"], tmp_path / "r", node["settings"])
    await process.start()
    assert accepts(port)
    async with asyncio.timeout(20):
        assert await process.stop() == 0
    assert not accepts(port)
