"""Real Redis servers of a test's own, on free ports, ended by their pid.

with redis_server(folder) as port: …                  one server, empty
with sentinel(folder) as (port, name, members): …     a master, a replica and three sentinels
with cluster(folder) as ports: …                      three masters with a replica each
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from tests.servers import accepts, free_port, running, wait_for


def needs_redis():
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")


@contextmanager
def redis_server(folder: Path, *more: object, port: int = 0) -> Iterator[int]:
    """Run one server; yield its port."""
    needs_redis()
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder,
                 "--save", "", "--appendonly", "no", *more]  # fmt: skip
    with running(arguments, ready=lambda: accepts(port)):
        yield port


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[list[int], str, list[int]]]:
    """Run a master, a replica and three sentinels; yield the sentinels, the name, the members."""
    name = "tierlink"
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(folder / "master"))
        replica = stack.enter_context(
            redis_server(folder / "replica", "--replicaof", "127.0.0.1", master)
        )
        sentinels = []
        for number in range(3):
            port = free_port()
            path = folder / f"sentinel{number}.conf"
            path.write_text(
                f"bind 127.0.0.1\nport {port}\ndir {folder}\n"
                f"sentinel monitor {name} 127.0.0.1 {master} 2\n"
                f"sentinel down-after-milliseconds {name} 1000\n"
                f"sentinel failover-timeout {name} 3000\n"
            )
            stack.enter_context(
                running(["redis-server", path, "--sentinel"], ready=lambda port=port: accepts(port))
            )
            sentinels.append(port)
        wait_for(lambda: _knows(sentinels[0], name), 20, "the sentinels")
        yield sentinels, name, [master, replica]


def _knows(port: int, name: str) -> bool:
    client = redis.Redis(port=port, protocol=2, decode_responses=True)
    try:
        found = client.execute_command("SENTINEL", "MASTER", name)
    except redis.RedisError:
        return False
    finally:
        client.close()
    state = dict(zip(found[::2], found[1::2], strict=True))
    return int(state["num-slaves"]) == 1 and int(state["num-other-sentinels"]) == 2


@contextmanager
def cluster(folder: Path) -> Iterator[list[int]]:
    """Run six servers as a cluster; yield their ports, masters first."""
    with ExitStack() as stack:
        ports = [
            stack.enter_context(
                redis_server(
                    folder / f"node{number}",
                    "--cluster-enabled",
                    "yes",
                    "--cluster-config-file",
                    f"nodes{number}.conf",
                    "--cluster-node-timeout",
                    "2000",
                    "--cluster-port",  # else 10,000 above the port, which may be no port
                    free_port(),
                )
            )
            for number in range(6)
        ]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        subprocess.run(
            [
                "redis-cli",
                "--cluster",
                "create",
                *addresses,
                "--cluster-replicas",
                "1",
                "--cluster-yes",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        wait_for(lambda: all(_whole(port) for port in ports), 30, "the cluster")
        yield ports


def _whole(port: int) -> bool:
    client = redis.Redis(port=port, decode_responses=True, protocol=2)
    try:
        info = client.execute_command("CLUSTER", "INFO")
    except redis.RedisError:
        return False
    finally:
        client.close()
    text = info if isinstance(info, str) else "\n".join(f"{k}:{v}" for k, v in info.items())
    return "cluster_state:ok" in text and "cluster_known_nodes:6" in text


def master_of(sentinels, name):
    """The port that the sentinels name now."""
    client = redis.Redis(port=sentinels[0], protocol=2, decode_responses=True)
    try:
        return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[1])
    finally:
        client.close()
