"""Measure latencies at a fixed rate of arrivals, or find the rate at which a node breaks.

    python loadtests/openloop.py --rate 5000 --seconds 30 --check-p99 20
    python loadtests/openloop.py --ramp 2000:40000:2000 --seconds 5 --check-p99 20   # the knee

An open loop: requests are due when the clock says so, however slow the answers are, and their
latency counts from then. The headline latencies of this project come from here; `make load` is a
closed loop, which waits with a slow server and so hides its queue.

Exit code 0: within every budget; 1: beyond one, or an answer was wrong; 2: usage; 3: void, because
the generator itself could not keep up.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests import processes
from loadtests.arrivals import Asked, Figures, Load, Plan
from loadtests.budgets import EXCEEDED, USAGE, VOID, WITHIN, WRONG, Budget, Seen
from loadtests.checks import OK, Checker, trust_from
from loadtests.histogram import Histogram
from loadtests.http1 import body_of
from loadtests.keys import Draw, Zipf, existing, path_of

DRAWN = 1 << 17  # requests that are drawn before the clock starts, and then come again
HOUR = 3600
MOST_RATE = 200_000
MOST_CONNECTIONS = 10_000
MOST_STEPS = 100
UNANSWERED = 0.02  # of what was offered, at the end of a step; more means that a queue grows
LATE_MS = 5.0  # lag of the generator that makes a run void, where it is half of what was measured
KNEE_P99_MS = 100.0  # where no other is given
SHARES = (0.5, 0.9, 0.99, 0.999)


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends the process with code 2 where it asks for too much."""
    port = os.environ.get("TIERLINK_PORT", "8088")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default=f"http://127.0.0.1:{port}", help="base URL of the node")
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second")
    parser.add_argument(
        "--ramp", type=_ramp, metavar="FROM:TO:STEP", help="rates, until one breaks"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of the run, or of each step")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds that do not count")
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds, from when it was due")
    parser.add_argument("--misses", type=float, default=0.02, help="share of unknown identifiers")
    parser.add_argument("--conditional", type=float, default=0.0, help="share with If-None-Match")
    parser.add_argument("--skew", type=float, default=0.99, help="of Zipf's law; 0 draws evenly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--identifiers", type=Path, help="file of identifiers, one a line")
    parser.add_argument(
        "--paths", type=Path, help="file of request targets, instead: PATH [STATUS]"
    )
    parser.add_argument("--check-p95", type=float, metavar="MS")
    parser.add_argument("--check-p99", type=float, metavar="MS")
    parser.add_argument("--check-errors", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--check-knee", type=float, metavar="RATE", help="that --ramp has to hold")
    parser.add_argument("--core", type=int, help="processor core that the generator keeps to")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--elsewhere", action="store_true", help="allow a host that is not this machine"
    )
    options = parser.parse_args(given)
    for complaint in _complaints(options):
        parser.error(complaint)
    return options


def _ramp(text: str) -> list[float]:
    first, last, step = (float(part) for part in text.split(":"))
    if not 0 < first <= last or step <= 0 or (last - first) / step >= MOST_STEPS:
        raise argparse.ArgumentTypeError(f"FROM:TO:STEP, upward, at most {MOST_STEPS} steps")
    return [first + step * number for number in range(int((last - first) / step) + 1)]


def _complaints(options: argparse.Namespace) -> list[str]:
    """Return what is out of bounds."""
    bounds = (
        ("--rate", max([options.rate, *(options.ramp or ())]), 0.1, MOST_RATE),
        ("--seconds", options.seconds, 0.1, HOUR),
        ("--warm-up", options.warm_up, 0, HOUR),
        ("--connections", options.connections, 1, MOST_CONNECTIONS),
        ("--timeout", options.timeout, 0.01, 600),
        ("--misses", options.misses, 0, 1),
        ("--conditional", options.conditional, 0, 1),
        ("--check-errors", options.check_errors, 0, 1),
    )
    found = [
        f"{name} is from {least:,} to {most:,}"
        for name, value, least, most in bounds
        if not least <= value <= most
    ]
    if urlsplit(options.host).scheme != "http":
        found.append("--host is an http:// URL; TLS ends before the node, and is not measured")
    elif not options.elsewhere and not processes.is_here(options.host):
        found.append(f"{options.host} is another machine; --elsewhere says that you may load it")
    if options.check_knee is not None and not options.ramp:
        found.append("--check-knee is for --ramp")
    return found


def main(given: Sequence[str]) -> int:
    """Measure, print, and judge."""
    options = arguments(given)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    try:
        requests = drawn(options)
        run = _knee if options.ramp else _fixed
        return run(options, requests)
    except OSError as err:
        print(f"cannot measure {options.host}: {err}", file=sys.stderr)
        return USAGE


def drawn(options: argparse.Namespace) -> list[Asked]:
    """Draw the requests of a run, before its clock starts."""
    host = urlsplit(options.host).netloc
    if options.paths is not None:
        lines = [line.split() for line in options.paths.read_text().splitlines() if line]
        return [
            Asked(path, _head(path, host), (rest or ["200"])[0].encode()) for path, *rest in lines
        ]
    sample = Path(os.environ.get("TIERLINK_DATA_DIR", ".tierlink")) / "sample.json"
    zipf = Zipf(existing(options.host, options.identifiers, sample), options.skew)
    draw = Draw(zipf, options.misses, options.seed)
    chance = random.Random(options.seed)
    return [
        Asked(
            name,
            _head(path_of(name), host),
            b"200" if exists else b"404",
            conditional=chance.random() < options.conditional,
        )
        for name, exists in draw.many(DRAWN)
    ]


def _head(path: str, host: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
        "Accept: application/json\r\nUser-Agent: tierlink-openloop\r\n"
    ).encode()


def _plan(options: argparse.Namespace, rate: float) -> Plan:
    parts = urlsplit(options.host)
    return Plan(
        parts.hostname or "",
        processes.port_of(options.host),
        rate,
        options.seconds,
        options.connections,
        options.warm_up,
        options.arrivals == "poisson",
        options.timeout,
        options.seed,
    )


def measure(plan: Plan, requests: Iterator[Asked]) -> Figures:
    """Run one plan to its end, on the fastest event loop there is."""
    try:
        import uvloop  # noqa: PLC0415  (not part of every installation)
    except ImportError:
        return asyncio.run(Load(plan, requests).run())
    return uvloop.run(Load(plan, requests).run())


# One rate


def _fixed(options: argparse.Namespace, requests: Sequence[Asked]) -> int:
    plan = _plan(options, options.rate)
    servers = processes.serving(plan.port) if processes.is_here(options.host) else set()
    before = processes.cpu_seconds(servers)
    figures = measure(plan, itertools.cycle(requests))
    spent = processes.cpu_seconds(servers) - before
    print("\n".join(report(plan, figures)))
    if servers:
        share = figures.seconds / (figures.seconds + plan.warm_up)
        cost = spent * share / max(1, figures.latency.total) * 1000
        print(f"server CPU  {cost:.4f} s per 1,000 requests")
    wrong = list(verified(options, figures))
    for complaint in wrong:
        print(f"failed: {complaint}", file=sys.stderr)
    if options.json is not None:
        options.json.write_text(json.dumps(document(plan, figures), indent=1) + "\n")
    return EXCEEDED if wrong else judge(_budget(options), figures)


def report(plan: Plan, figures: Figures) -> Iterator[str]:
    """Yield the figures for people."""
    kind = "Poisson" if plan.poisson else "constant"
    yield (
        f"offered     {figures.offered / figures.seconds:,.0f}/s for {figures.seconds:g} s"
        f" ({kind} arrivals at {plan.rate:,.0f}/s), {plan.connections} connections"
    )
    yield f"achieved    {figures.achieved:,.0f}/s; {figures.failed:,} failed"
    yield "ms              p50      p90      p99    p99.9      max"
    for name, histogram, remark in (
        ("latency", figures.latency, "from when a request was due"),
        ("service", figures.service, "from when it was sent: hides what waited"),
        ("lag", figures.lag, "of this generator"),
    ):
        cells = "".join(f"{value / 1000:9.3f}" for value in _row(histogram))
        yield f"{name:10}{cells}   {remark}"
    statuses = ", ".join(f"{status}: {n:,}" for status, n in sorted(figures.statuses.items()))
    yield f"answers     {statuses or 'none'}"
    for complaint, number in figures.failures.most_common(5):
        yield f"  {number:,} x {complaint}"


def _row(histogram: Histogram) -> list[int]:
    return [*(histogram.percentile(share) for share in SHARES), histogram.largest]


def document(plan: Plan, figures: Figures) -> dict[str, object]:
    """Return the figures for machines; durations in microseconds."""
    return {
        "rate": plan.rate,
        "arrivals": "poisson" if plan.poisson else "constant",
        "connections": plan.connections,
        "seconds": figures.seconds,
        "offered": figures.offered,
        "achieved_per_second": figures.achieved,
        "failures": dict(figures.failures),
        "statuses": dict(figures.statuses),
        **{
            name: {
                **{f"p{share * 100:g}": histogram.percentile(share) for share in SHARES},
                "max": histogram.largest,
                "mean": histogram.mean,
                "buckets": list(histogram.buckets()),
            }
            for name, histogram in (
                ("latency", figures.latency),
                ("service", figures.service),
                ("lag", figures.lag),
            )
        },
    }


# The knee


def _knee(options: argparse.Namespace, requests: Sequence[Asked]) -> int:
    """Go up until a rate does not hold; the one before it is the knee."""
    budget = _budget(options)
    if budget.p99_ms is None:
        budget = replace(budget, p99_ms=KNEE_P99_MS)
    endless, knee, steps = itertools.cycle(requests), 0.0, []
    code = WITHIN
    print(f"{'rate/s':>9} {'achieved':>9} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'lag p99':>8}")
    for rate in options.ramp:
        plan = _plan(options, rate)
        figures = measure(plan, endless)
        steps.append(document(plan, figures))
        code, why = holds(budget, figures, plan.connections)
        print(_line(rate, figures) + (f"   {why}" if why else ""), flush=True)
        if code != WITHIN:
            break
        knee = rate
    print(f"knee: {knee:,.0f}/s" + ("" if code != WITHIN else ", and no step broke: go higher"))
    if options.json is not None:
        options.json.write_text(json.dumps({"knee": knee, "steps": steps}, indent=1) + "\n")
    if code == VOID:
        print("the generator broke before the server did", file=sys.stderr)
    enough = knee >= (options.check_knee or options.ramp[0])
    return WITHIN if enough else code


def _line(rate: float, figures: Figures) -> str:
    p50, p99 = figures.latency.percentile(0.5), figures.latency.percentile(0.99)
    numbers = (p50, p99, figures.latency.largest, figures.lag.percentile(0.99))
    return f"{rate:9,.0f} {figures.achieved:9,.0f} " + " ".join(f"{v / 1000:8.2f}" for v in numbers)


def holds(budget: Budget, figures: Figures, connections: int) -> tuple[int, str]:
    """Tell whether a rate was kept up, by an exit code and in words.

    At the end of a step what is on the connections may be unanswered, and little more.
    """
    code = judge(budget, figures, say=False)
    if code != WITHIN:
        return code, "void: generator" if code == VOID else "beyond the budget"
    left = figures.offered - figures.in_time - figures.failed
    if left > max(connections, UNANSWERED * figures.offered):
        return EXCEEDED, "a queue grows"
    return WITHIN, ""


# The verdict


def _budget(options: argparse.Namespace) -> Budget:
    return Budget(options.check_p95, options.check_p99, options.check_errors)


def judge(budget: Budget, figures: Figures, *, say: bool = True) -> int:
    """Turn figures into an exit code.

    What exceeds a budget while the generator was late is void: the lateness is in the latency.
    What is within it in spite of that, is.
    """
    p95, p99 = (figures.latency.percentile(share) / 1000 for share in (0.95, 0.99))
    exceeded = budget.exceeded(Seen(figures.latency.total, figures.failed, p95, p99))
    lag = figures.lag.percentile(0.99) / 1000
    late = lag > LATE_MS and lag > p99 / 2
    if say:
        for complaint in exceeded:
            print(f"failed: {complaint}", file=sys.stderr)
        if late:
            print(
                f"the generator was {lag:.1f} ms late (p99): lower the rate, or give it a core"
                " of its own (--core)",
                file=sys.stderr,
            )
    if exceeded and late and not figures.failed:
        return VOID
    return EXCEEDED if exceeded else WITHIN


def verified(options: argparse.Namespace, figures: Figures) -> Iterator[str]:
    """Check the sampled answers, now that no clock runs; yield what is wrong."""
    if options.paths is not None:
        return
    path = Path(os.environ.get("TIERLINK_DATA_DIR", ".tierlink")) / "trust.json"
    checker = Checker(trust_from(path), sample=10)
    for sample in figures.samples:
        if sample.response[9:12] != b"%d" % OK:
            continue
        complaint = checker.answer(sample.name, body_of(sample.response))
        if complaint:
            yield complaint.removeprefix(WRONG)
    print(f"verified    {checker.verified:,} of {len(figures.samples):,} sampled answers, offline")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
