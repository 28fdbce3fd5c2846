"""Users that behave as partners do, run by `run.py`, or by hand: `locust -f …/locustfile.py`.

Settings come from the environment, so that every process of a distributed run has the same:

    TIERLINK_DATA_DIR           where sample.json and trust.json are              .tierlink
    TIERLINK_LOAD_IDENTIFIERS   a file of identifiers, one a line                 the sample's
    TIERLINK_LOAD_SHAPE         constant | ramp | step | spike | soak | diurnal   constant
    TIERLINK_LOAD_USERS, …_TIME the peak and the length, where there is a shape   50, 60
    TIERLINK_LOAD_MISSES        share of identifiers that do not exist            0.02
    TIERLINK_LOAD_CONDITIONAL   share of requests with If-None-Match, where one has an answer  0.2
    TIERLINK_LOAD_RECORDS       registrations of one process                      10000
    TIERLINK_LOAD_P95, …_P99    milliseconds; …_ERRORS a share: exceeded, exit 1
    TIERLINK_LOAD_HOLD          users that `step` has to hold
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
from pathlib import Path

import gevent
from locust import FastHttpUser, LoadTestShape, constant, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests.budgets import EXCEEDED, WITHIN, WRONG, Budget, Seen
from loadtests.checks import CREATED, MISSING, OK, Checker, trust_from
from loadtests.keys import Draw, Zipf, existing, path_of
from loadtests.production import Production
from loadtests.shapes import SHAPES, StepToBreak, Totals


def _number(name: str) -> float | None:
    text = os.environ.get(f"TIERLINK_LOAD_{name}")
    return None if text is None else float(text)


DATA_DIR = Path(os.environ.get("TIERLINK_DATA_DIR", ".tierlink"))
SHAPE = os.environ.get("TIERLINK_LOAD_SHAPE", "constant")
USERS = int(os.environ.get("TIERLINK_LOAD_USERS", "50"))
SECONDS = float(os.environ.get("TIERLINK_LOAD_TIME", "60"))
MISSES = float(os.environ.get("TIERLINK_LOAD_MISSES", "0.02"))
CONDITIONAL = float(os.environ.get("TIERLINK_LOAD_CONDITIONAL", "0.2"))
RECORDS = int(os.environ.get("TIERLINK_LOAD_RECORDS", "10000"))
BUDGET = Budget(_number("P95"), _number("P99"), _number("ERRORS") or 0.0)
HOLD = int(os.environ.get("TIERLINK_LOAD_HOLD", "1"))

BATCH_SIZES = (1, 10, 100)
BOUND = 1.1  # seconds after which a registration must be seen wherever one asks
SEEDS = 1_000_003  # of one process, so that no two processes draw the same


class _Known:
    """What one process has learnt before its users start."""

    zipf: Zipf
    production = Production((), 0)
    seeds = itertools.count(1)
    trust = trust_from(DATA_DIR / "trust.json")
    verified = 0  # answers, of the users of this process; at the master, of all


# The one course that has a memory; only the master (or a lone process) ticks.
_steps = StepToBreak(USERS, SECONDS, BUDGET) if SHAPE == "step" else None


@events.test_start.add_listener
def learn(environment: Environment, **_: object) -> None:
    """Find out what there is to ask for, once per process that has users."""
    if isinstance(environment.runner, MasterRunner) or hasattr(_Known, "zipf"):
        return
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each page of the list
    given = os.environ.get("TIERLINK_LOAD_IDENTIFIERS")
    sample = DATA_DIR / "sample.json"
    _Known.zipf = Zipf(existing(environment.host or "", Path(given) if given else None, sample))
    if sample.exists():
        enterprises = json.loads(sample.read_text(encoding="utf-8"))["enterprises"]
        _Known.production = Production(enterprises, RECORDS)
    if isinstance(environment.runner, WorkerRunner):
        _Known.seeds = itertools.count(1 + SEEDS * max(0, environment.runner.worker_index))


@events.report_to_master.add_listener
def report(data: dict[str, object], **_: object) -> None:
    """Tell the master how many answers were verified since the last report."""
    data["verified"], _Known.verified = _Known.verified, 0


@events.worker_report.add_listener
def count(data: dict[str, int], **_: object) -> None:
    """Add what a worker verified."""
    _Known.verified += data.get("verified", 0)


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    """Turn the budgets into an exit code."""
    if isinstance(environment.runner, WorkerRunner):
        return
    complaints = [*_beyond(environment), *_wrong(environment)]
    for complaint in complaints:
        print(f"failed: {complaint}", file=sys.stderr)
    how = "" if _Known.trust else f" (no {DATA_DIR / 'trust.json'}, so no signature was checked)"
    print(f"verified offline: {_Known.verified:,} of {environment.stats.total.num_requests:,}{how}")
    environment.process_exit_code = EXCEEDED if complaints else WITHIN


def _beyond(environment: Environment) -> list[str]:
    if _steps is not None:
        print(_steps.verdict)
        held = _steps.held >= HOLD
        return [] if held else [f"held {_steps.held} users, {HOLD} are asked for"]
    total = environment.stats.total
    p95, p99 = (total.get_response_time_percentile(share) or 0 for share in (0.95, 0.99))
    return BUDGET.exceeded(Seen(total.num_requests, total.num_failures, p95, p99))


def _wrong(environment: Environment) -> list[str]:
    """Return what nobody may ever answer; the budget for errors does not cover it."""
    texts = (f"{error.name}: {error.error}" for error in environment.stats.errors.values())
    return [text for text in texts if WRONG in text]


class Partner(FastHttpUser):
    """What all users share: a draw of identifiers, and the checks."""

    abstract = True
    wait_time = constant(0)
    connection_timeout = 5.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Take a seed of one's own."""
        if not hasattr(_Known, "zipf"):
            raise StopUser  # `learn` has said why
        self.draw = Draw(_Known.zipf, misses=MISSES, seed=next(_Known.seeds))
        self.checker = Checker(_Known.trust)

    def resolve(self) -> None:
        """Look one identifier up; now and then ask only whether it changed."""
        identifier, exists = self.draw.one()
        tag = self.checker.etag(identifier) if self.draw.chance.random() < CONDITIONAL else None
        name = "resolve 304" if tag else "resolve" if exists else "resolve, unknown"
        with self.client.get(
            path_of(identifier),
            headers={"if-none-match": tag} if tag else {},
            name=name,
            catch_response=True,
        ) as reply:
            etag = reply.headers.get("etag") if reply.headers else None
            self._judged(
                reply,
                self.checker.reply(
                    identifier, reply.status_code, reply.content, etag, exists=exists, sent=tag
                )
                if reply.status_code
                else "no answer",
            )

    def batch(self, size: int) -> None:
        """Resolve many at once; every line must be about what was asked, in order."""
        asked = self.draw.many(size)
        body = {"identifiers": [identifier for identifier, _ in asked]}
        with self.client.post(
            "/v1/resolve", json=body, name=f"batch {size}", catch_response=True
        ) as reply:
            if reply.status_code != OK:
                reply.failure(f"status {reply.status_code}")
            else:
                self._judged(reply, self.checker.lines(asked, reply.content))

    def trace(self) -> None:
        """Walk upstream or downstream from an identifier."""
        identifier, exists = self.draw.one()
        direction = self.draw.chance.choice(("upstream", "downstream"))
        with self.client.get(
            f"/v1/trace{path_of(identifier)}?direction={direction}&depth=4&limit=500",
            name=f"trace {direction}" if exists else "trace, unknown",
            catch_response=True,
        ) as reply:
            if reply.status_code == OK:
                self._judged(reply, self.checker.trace(identifier, direction, reply.content))
            elif reply.status_code == MISSING and not exists:
                reply.success()
            else:
                reply.failure(f"status {reply.status_code}")

    def register(self) -> None:
        """Register something new, then look whether it is there."""
        order = _Known.production.next()
        if order is None:
            raise StopUser
        headers = {
            "authorization": f"Bearer {order.api_key}",
            "content-type": "application/json",
        }
        with self.client.post(
            "/v1/identifiers",
            data=order.body,
            headers=headers,
            name="register",
            catch_response=True,
        ) as reply:
            if reply.status_code != CREATED:
                reply.failure(f"status {reply.status_code}: {reply.text[:200]}")
                return
            self._judged(reply, self.checker.registered(order.identifier, reply.content))
        self._read_back(order.identifier)

    def _read_back(self, identifier: str) -> None:
        """See a registration; the bound says how long it may take to be seen elsewhere."""
        for last in (False, True):
            with self.client.get(
                path_of(identifier), name="resolve, just registered", catch_response=True
            ) as reply:
                if reply.status_code == MISSING and not last:
                    reply.success()
                else:
                    etag = reply.headers.get("etag") if reply.headers else None
                    self._judged(
                        reply,
                        self.checker.reply(
                            identifier, reply.status_code, reply.content, etag, exists=True
                        )
                        if reply.status_code
                        else "no answer",
                    )
                    return
            gevent.sleep(BOUND)

    def _judged(self, reply: object, complaint: str | None) -> None:
        _Known.verified += self.checker.verified
        self.checker.verified = 0
        if complaint:
            reply.failure(complaint)  # type: ignore[attr-defined]
        else:
            reply.success()  # type: ignore[attr-defined]


class ResolveUser(Partner):
    """Scans codes all day."""

    @task
    def scan(self) -> None:
        """Resolve one."""
        self.resolve()


class BatchUser(Partner):
    """A warehouse system: whole delivery notes at a time."""

    @task
    def note(self) -> None:
        """Resolve 1, 10 or 100."""
        self.batch(self.draw.chance.choice(BATCH_SIZES))


class TraceUser(Partner):
    """A quality engineer."""

    @task
    def walk(self) -> None:
        """Trace one."""
        self.trace()


class RegisterUser(Partner):
    """A production line; it leaves records behind, so it runs only when asked for."""

    @task
    def produce(self) -> None:
        """Register one."""
        self.register()


class MixedUser(Partner):
    """A partner as a whole: mostly scans, some delivery notes, now and then a trace."""

    weight = 20

    @task(85)
    def scan(self) -> None:
        """Resolve one."""
        self.resolve()

    @task(10)
    def note(self) -> None:
        """Resolve 1, 10 or 100."""
        self.batch(self.draw.chance.choice(BATCH_SIZES))

    @task(5)
    def walk(self) -> None:
        """Trace one."""
        self.trace()


if SHAPE != "constant":

    class Shape(LoadTestShape):
        """The course of the run, from `shapes`."""

        def tick(self) -> tuple[int, float] | None:
            """Return (users, spawn rate) for now, None at the end."""
            at = self.get_run_time()
            if _steps is None:
                return SHAPES[SHAPE](at, USERS, SECONDS)
            assert self.runner is not None
            total = self.runner.environment.stats.total
            return _steps.tick(
                at, Totals(total.num_requests, total.num_failures, dict(total.response_times))
            )
