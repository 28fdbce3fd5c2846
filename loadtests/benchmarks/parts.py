"""What a node is made of, each part a process of its own on core 0: database, roles, Redis.

    with database(settings) as data:            an embedded PostgreSQL, migrated
        with role("registry", data, settings): …
        with redis_server(settings) as port, role("resolver", data, settings, …) as contestant: …

Whatever answers a request for the server's side, the database and Redis too, shares core 0 with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from schemas.delegation import sign_possession
from schemas.identifier import Identifier, Prefix
from schemas.keys import PrivateKey
from schemas.record import ITEM, Record
from schemas.target import Target as Pointer
from tierlink import embedded, migrations

from . import harness
from .harness import Contestant, Row, Settings

PREFIX = Prefix.parse("88.77")
CACHE_KEY = "a secret that the resolvers of a benchmark share"
READY_SECONDS = 60.0
_PIECE = 500  # lines


@dataclass(frozen=True)
class Data:
    """A running database and the folder of the node that uses it."""

    folder: Path
    url: str

    @property
    def socket(self) -> str:
        """The folder of the database's socket."""
        return parse_qs(urlsplit(self.url).query)["host"][0]


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder that the database's account can enter, on a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="tl-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Bind this process, and what it starts meanwhile, to a core."""
    allowed = os.sched_getaffinity(0)
    if core in allowed:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def database() -> Iterator[Data]:
    """Run a migrated PostgreSQL with the settings of a node, on core 0."""
    with short_folder() as folder:
        with on_core(0):
            server = embedded.start(folder / "node")
        try:
            migrations.upgrade(server.url)
            yield Data(folder / "node", server.url)
        finally:
            embedded.stop(server)


@contextlib.contextmanager
def role(
    name: str, data: Data, settings: Settings, env: Mapping[str, str] | None = None
) -> Iterator[Contestant]:
    """Run `tierlink registry` or `resolver` on core 0 until the block ends."""
    port = harness.free_port()
    given = {
        "TIERLINK_PORT": str(port),
        "TIERLINK_DATA_DIR": str(data.folder),
        "TIERLINK_DATABASE_URL": data.url,
        "TIERLINK_REDIS_URL": "",
        **(env or {}),
    }
    given = {key: value for key, value in given.items() if value}
    command = [*harness.python(Path("-m")), "tierlink", name]
    log = settings.scratch / f"{name}-{port}.log"
    with harness.server(command, port, log=log, env=given) as process:
        url = f"http://127.0.0.1:{port}"
        wait_ready(url)
        yield Contestant(Row(name), url, process.pid)


@contextlib.contextmanager
def node(settings: Settings, *, core: int | None = 0) -> Iterator[tuple[Contestant, Path]]:
    """Run a whole node, `tierlink up` without the sample; yield it and its data folder.

    It is bound to one core, or to none.
    """
    port = harness.free_port()
    log = settings.scratch / f"node-{port}.log"
    command = [*harness.python(Path("-m")), "tierlink", "up"]
    with short_folder() as folder:
        env = {
            "TIERLINK_PORT": str(port),
            "TIERLINK_DATA_DIR": str(folder / "node"),
            "TIERLINK_SAMPLE": "none",
        }
        with harness.server(command, port, log=log, env=env, core=core) as process:
            while "tierlink ready" not in log.read_text(encoding="utf-8"):
                time.sleep(0.1)
            yield (
                Contestant(Row("tierlink"), f"http://127.0.0.1:{port}", process.pid),
                folder / "node",
            )


def wait_ready(url: str) -> None:
    """Return when /readyz says so."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(0.01)
    raise RuntimeError(f"{url} did not become ready")


@contextlib.contextmanager
def redis_server(settings: Settings) -> Iterator[int]:
    """Run an empty Redis on core 0; yield its port."""
    port = harness.free_port()
    folder = settings.scratch / f"redis-{port}"
    folder.mkdir()
    command = [harness.need("redis-server"), "--bind", "127.0.0.1", "--port", port, "--dir", folder]
    command += ["--save", "", "--appendonly", "no"]
    with harness.server(command, port, log=folder / "log"):
        yield port


class Holder:
    """An enterprise with a key of its own, below a registry that was just founded."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self.url = url
        self.signer = PrivateKey.from_seed(bytes(32))
        operator = json.loads((data_dir / "operator.json").read_text())["api_key"]
        with httpx.Client(base_url=url, headers=_bearer(operator), timeout=30) as client:
            challenge = {"prefix": str(PREFIX), "kid": self.signer.public.kid}
            nonce = client.post("/v1/challenges", json=challenge).raise_for_status().json()["nonce"]
            key = {
                "jwk": dict(self.signer.public.jwk),
                "use": ["record"],
                "possession": sign_possession(self.signer, PREFIX, nonce, int(time.time())),
            }
            body = {"prefix": str(PREFIX), "organisation": {"name": "Bench"}, "keys": [key]}
            made = client.post("/v1/prefixes", json=body).raise_for_status().json()
        self.headers = _bearer(made["api_key"])

    def record(self, name: str, issued_at: int) -> Record:
        """Return one record, unsigned."""
        return Record(
            Identifier(PREFIX, name),
            ITEM,
            issued_at,
            targets=(Pointer("gs1:pip", f"https://example.com/{name}", "text/html", "Product"),),
            attributes={"serial": name, "plant": "2"},
        )

    def token(self, name: str) -> str:
        """Return one record, signed now."""
        return self.record(name, int(time.time())).sign(self.signer)

    def line(self, name: str) -> bytes:
        """Return one signed record as a line or body."""
        return line_of(self.token(name))

    def register(self, names: Iterable[str]) -> None:
        """Register records in one batch; raise where one is refused."""
        lines = [self.line(name) for name in names]
        accepted = self.send(lines)
        if accepted != len(lines):
            raise RuntimeError(f"{accepted} of {len(lines)} records were accepted")

    def send(self, lines: Sequence[bytes]) -> int:
        """Register lines in one request; return how many were new."""
        # Some hundred lines to a piece: one each, and it is the client that is measured.
        pieces = (b"".join(lines[at : at + _PIECE]) for at in range(0, len(lines), _PIECE))
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=600) as client:
            reply = client.post("/v1/identifiers/batch", content=pieces).raise_for_status()
        return reply.content.count(b'"status":201')


def line_of(token: str) -> bytes:
    """Return an envelope as a line of a batch, or a body."""
    return json.dumps({"envelope": token}).encode() + b"\n"


def _bearer(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"}


def counters(url: str) -> dict[str, float]:
    """Read /metrics: each sample by its name with its labels."""
    text = httpx.get(f"{url}/metrics", timeout=10).text
    found = re.findall(r"^([a-z_]+(?:\{[^}]*\})?) ([0-9.eE+-]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}
