"""Users that behave as partners do, run by `run.py`, or by hand: `locust -f …/locustfile.py`.

Settings come from the environment, so that every process of a distributed run has the same:

    TIERLINK_DATA_DIR         where sample.json and trust.json are            .tierlink
    TIERLINK_LOAD_IDENTIFIERS a file of identifiers, one a line               the sample's
    TIERLINK_LOAD_SHAPE       constant | ramp | step | spike | soak           constant
    TIERLINK_LOAD_MISSES      share of identifiers that do not exist          0.02
    TIERLINK_LOAD_P95, …_P99  milliseconds; …_ERRORS share: exceeded, exit 1
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import sys
from pathlib import Path

from locust import FastHttpUser, LoadTestShape, constant, events, task
from locust.env import Environment

sys.path.insert(0, str(Path(__file__).parent))

import shapes
from checks import Checker, trust_from
from keys import Draw, from_file, from_sample, path_of

DATA_DIR = Path(os.environ.get("TIERLINK_DATA_DIR", ".tierlink"))
SHAPE = os.environ.get("TIERLINK_LOAD_SHAPE", "constant")
MISSES = float(os.environ.get("TIERLINK_LOAD_MISSES", "0.02"))
BATCH_SIZES = (1, 10, 100)

_identifiers: list[str] = []
_sample: dict[str, list[dict[str, str]]] = {"enterprises": []}
_trust = trust_from(DATA_DIR / "trust.json")
_seeds = itertools.count(1)


@events.test_start.add_listener
def learn(environment: Environment, **_: object) -> None:
    """Find out what there is to ask for, once per process."""
    given = os.environ.get("TIERLINK_LOAD_IDENTIFIERS")
    sample = DATA_DIR / "sample.json"
    if sample.exists():
        _sample.update(json.loads(sample.read_text(encoding="utf-8")))
    if not _identifiers:
        _identifiers.extend(
            from_file(Path(given)) if given else from_sample(environment.host or "", sample)
        )


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    """Turn the budgets into an exit code: 0 within, 1 beyond."""
    total = environment.stats.total
    p95, p99 = (total.get_response_time_percentile(q) or 0 for q in (0.95, 0.99))
    limits = {
        "p95 ms": (p95, float(os.environ.get("TIERLINK_LOAD_P95", "inf"))),
        "p99 ms": (p99, float(os.environ.get("TIERLINK_LOAD_P99", "inf"))),
        "errors": (total.fail_ratio, float(os.environ.get("TIERLINK_LOAD_ERRORS", "0"))),
    }
    exceeded = [f"{name} {is_} > {may}" for name, (is_, may) in limits.items() if is_ > may]
    if total.num_requests == 0:
        exceeded.append("nothing was asked")
    for complaint in exceeded:
        print(f"beyond the budget: {complaint}", file=sys.stderr)
    environment.process_exit_code = 1 if exceeded else 0


class Partner(FastHttpUser):
    """What all users share: a draw of identifiers, and the checks."""

    abstract = True
    wait_time = constant(0)
    connection_timeout = 5.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Take a seed of one's own."""
        self.draw = Draw(_identifiers, misses=MISSES, seed=next(_seeds))
        self.checker = Checker(_trust)
        self.etags: dict[str, str] = {}

    def resolve(self) -> None:
        """Look one identifier up; now and then ask only whether it changed."""
        identifier, exists = self.draw.one()
        etag = self.etags.get(identifier)
        headers = {"if-none-match": etag} if etag and len(identifier) % 5 == 0 else {}
        name = "resolve 304" if headers else "resolve" if exists else "resolve, unknown"
        with self.client.get(
            path_of(identifier), headers=headers, name=name, catch_response=True
        ) as reply:
            if reply.status_code == 200:  # noqa: PLR2004
                complaint = self.checker.answer(identifier, reply.content)
                self.etags[identifier] = reply.headers["etag"]
            elif reply.status_code == 304 and headers:  # noqa: PLR2004
                complaint = None
            else:
                wanted = 404 if not exists else 200
                complaint = None if reply.status_code == wanted else f"status {reply.status_code}"
            if complaint:
                reply.failure(complaint)
            else:
                reply.success()

    def batch(self, size: int) -> None:
        """Resolve many at once; every line must be about what was asked, in order."""
        wanted = self.draw.many(size)
        with self.client.post(
            "/v1/resolve", json={"identifiers": wanted}, name=f"batch {size}", catch_response=True
        ) as reply:
            lines = reply.content.splitlines() if reply.status_code == 200 else []  # noqa: PLR2004
            got = [json.loads(line)["identifier"] for line in lines]
            if got == wanted:
                reply.success()
            else:
                reply.failure(f"status {reply.status_code}, {len(got)} of {size} lines")

    def trace(self) -> None:
        """Walk upstream or downstream from an identifier that exists."""
        identifier, exists = self.draw.one()
        direction = "upstream" if len(identifier) % 2 else "downstream"
        with self.client.get(
            f"/v1/trace{path_of(identifier)}?direction={direction}&depth=4&limit=500",
            name=f"trace {direction}",
            catch_response=True,
        ) as reply:
            if exists and (reply.status_code != 200 or reply.json()["root"] != identifier):  # noqa: PLR2004
                reply.failure(f"status {reply.status_code}")
            else:
                reply.success()

    def register(self) -> None:
        """Register a new document under an enterprise whose key the registry hosts."""
        hosted = [item for item in _sample["enterprises"] if not item.get("key_file")]
        if not hosted:
            return
        enterprise = hosted[0]
        identifier = f"{enterprise['prefix']}/LOAD-{secrets.token_hex(8)}"
        with self.client.post(
            "/v1/identifiers",
            json={"identifier": identifier, "kind": "item", "attributes": {"purpose": "load test"}},
            headers={"authorization": f"Bearer {enterprise['api_key']}"},
            name="register",
            catch_response=True,
        ) as reply:
            if reply.status_code == 201:  # noqa: PLR2004
                reply.success()
            else:
                reply.failure(f"status {reply.status_code}: {reply.text[:200]}")


class ResolveUser(Partner):
    """Scans codes all day."""

    weight = 10

    @task
    def scan(self) -> None:
        """Resolve one."""
        self.resolve()


class BatchUser(Partner):
    """A warehouse system: whole delivery notes at a time."""

    weight = 2

    @task
    def note(self) -> None:
        """Resolve 1, 10 or 100."""
        self.batch(BATCH_SIZES[self.draw._random.randrange(3)])  # noqa: SLF001


class TraceUser(Partner):
    """A quality engineer."""

    weight = 1

    @task
    def walk(self) -> None:
        """Trace one."""
        self.trace()


class RegisterUser(Partner):
    """A production line; it leaves records behind, so it runs only when asked for."""

    weight = 1

    @task
    def produce(self) -> None:
        """Register one."""
        self.register()


if SHAPE != "constant":

    class Shape(LoadTestShape):
        """The course of the run, from `shapes`."""

        def tick(self) -> tuple[int, float] | None:
            """Return (users, spawn rate) for now, None at the end."""
            return shapes.SHAPES[SHAPE](
                self.get_run_time(),
                int(os.environ.get("TIERLINK_LOAD_USERS", "50")),
                float(os.environ.get("TIERLINK_LOAD_TIME", "60")),
            )
