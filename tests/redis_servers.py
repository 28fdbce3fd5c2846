"""Real Redis servers of a test's own, on free ports, ended by their pid.

with redis_server(folder) as port: …                  one server, empty
with sentinel(folder) as (port, name, members): …     a master, a replica and three sentinels
with cluster(folder) as ports: …                      three masters with a replica each
with secured_sentinel(folder, password, own) as (port, name, authority): …     behind TLS
"""

import ipaddress
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import accepts, free_port, running, wait_for

SECONDS = 60  # for anything that a busy machine may be slow at


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
    with running(arguments, ready=lambda: accepts(port), seconds=SECONDS):
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
                running(
                    ["redis-server", path, "--sentinel"],
                    ready=lambda port=port: accepts(port),
                    seconds=SECONDS,
                )
            )
            sentinels.append(port)
        wait_for(lambda: _knows(sentinels[0], name), SECONDS, "the sentinels")
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
            timeout=SECONDS,
        )
        wait_for(lambda: all(_whole(port) for port in ports), SECONDS, "the cluster")
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


@contextmanager
def secured_sentinel(folder: Path, password: str, own: str) -> Iterator[tuple[int, str, Path]]:
    """Run a master behind TLS and `password`, and a sentinel behind TLS and its `own` one.

    Yield the sentinel's port, the name of the master, and the file of the authority.
    """
    needs_redis()
    certificate, key = self_signed(folder)
    tls = {"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": certificate,
           "tls-auth-clients": "no", "tls-replication": "yes"}  # fmt: skip
    name, master, watching = "tierlink", free_port(), free_port()
    options = {"bind": "127.0.0.1", "port": 0, "dir": folder, **tls}
    settings = {
        "master": options | {"tls-port": master, "requirepass": password, "save": '""'},
        "sentinel": options
        | {
            "tls-port": watching,
            "requirepass": own,
            "sentinel monitor": f"{name} 127.0.0.1 {master} 1",
            "sentinel auth-pass": f"{name} {password}",
        },
    }
    with ExitStack() as stack:
        for what, port in (("master", master), ("sentinel", watching)):
            path = folder / f"{what}.conf"
            path.write_text("".join(f"{k} {v}\n" for k, v in settings[what].items()))
            mode = ["--sentinel"] if what == "sentinel" else []
            arguments = ["redis-server", path, *mode]
            stack.enter_context(
                running(arguments, ready=lambda port=port: accepts(port), seconds=SECONDS)
            )
        yield watching, name, certificate


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that is its own authority; return its file and its key's."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tierlink test")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
