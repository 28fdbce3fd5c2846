"""Run a headless load test against a node on this machine and judge it by its budgets.

    make load                                        mixed, 20 users, 30 s, against `make up`
    make load ARGS="--scenario resolve --users 64 --check-p99 20"
    make load ARGS="--scenario resolve --shape step --users 400 --time 160 --check-p99 20"

Exit code 0: within every budget; 1: beyond one, or an answer was wrong; 2: usage.
Results (CSV, HTML, JSON) go to loadtests/results/<time>-<scenario>/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests import processes
from loadtests.budgets import USAGE
from loadtests.shapes import SHAPES

HERE = Path(__file__).parent
SCENARIOS = {
    "resolve": ["ResolveUser"],
    "batch": ["BatchUser"],
    "trace": ["TraceUser"],
    "register": ["RegisterUser"],
    "mixed": ["MixedUser"],
    "mixed-write": ["MixedUser", "RegisterUser"],
}
DAY = 86_400
SHORTEST_STEPS = 40  # seconds
MOST_USERS = 10_000
MOST_PROCESSES = 64
MOST_RECORDS = 1_000_000


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line; ends the process with code 2 where it asks for too much."""
    port = os.environ.get("TIERLINK_PORT", "8088")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default=f"http://127.0.0.1:{port}", help="base URL of the node")
    parser.add_argument("--scenario", choices=SCENARIOS, default="mixed")
    parser.add_argument("--shape", choices=("constant", *SHAPES), default="constant")
    parser.add_argument("--users", type=int, default=20, help="simulated partners at the peak")
    parser.add_argument("--time", type=int, default=30, help="seconds; at most 86,400")
    parser.add_argument(
        "--processes", type=int, default=1, help="load generator processes; -1: one per core"
    )
    parser.add_argument("--misses", type=float, default=0.02, help="share of unknown identifiers")
    parser.add_argument(
        "--conditional", type=float, default=0.2, help="share of requests with If-None-Match"
    )
    parser.add_argument(
        "--records", type=int, default=10_000, help="registrations at most, in all processes"
    )
    parser.add_argument("--identifiers", type=Path, help="file of identifiers, one a line")
    parser.add_argument("--check-p95", type=float, metavar="MS")
    parser.add_argument("--check-p99", type=float, metavar="MS")
    parser.add_argument("--check-errors", type=float, default=0.0, metavar="SHARE")
    parser.add_argument(
        "--check-hold", type=int, metavar="USERS", help="users that --shape step has to hold"
    )
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument(
        "--elsewhere", action="store_true", help="allow a host that is not this machine"
    )
    options = parser.parse_args(given)
    for complaint in _complaints(options):
        parser.error(complaint)
    return options


def _complaints(options: argparse.Namespace) -> list[str]:
    """Return what is out of bounds."""
    bounds = (
        ("--time", options.time, 1, DAY),
        ("--users", options.users, 1, MOST_USERS),
        ("--processes", options.processes, -1, MOST_PROCESSES),
        ("--records", options.records, 1, MOST_RECORDS),
        ("--misses", options.misses, 0, 1),
        ("--conditional", options.conditional, 0, 1),
        ("--check-errors", options.check_errors, 0, 1),
    )
    found = [
        f"{name} is from {least:,} to {most:,}"
        for name, value, least, most in bounds
        if not least <= value <= most or (name == "--processes" and value == 0)
    ]
    if not options.elsewhere and not processes.is_here(options.host):
        found.append(f"{options.host} is another machine; --elsewhere says that you may load it")
    if options.shape == "step" and options.time < SHORTEST_STEPS:
        found.append(f"--shape step needs --time {SHORTEST_STEPS} or more, to judge each step")
    if options.check_hold is not None and options.shape != "step":
        found.append("--check-hold is for --shape step")
    return found


def main(given: list[str]) -> int:
    """Start locust with the settings and return its verdict."""
    options = arguments(given)
    missing = _unprepared(options)
    if missing:
        print(missing, file=sys.stderr)
        return USAGE
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    out = options.out or HERE / "results" / f"{stamp}-{options.scenario}-{options.shape}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.json").write_text(json.dumps({"command": given}, indent=1) + "\n")
    servers = _servers(options)
    before = processes.cpu_seconds(servers)
    environment = {**os.environ, **_settings(options)}
    code = subprocess.run(_command(options, out), env=environment, check=False).returncode
    spent = processes.cpu_seconds(servers) - before
    print(_cost(out, spent) if servers else "server CPU: not on this machine")
    print(f"results in {out}")
    return code


def _unprepared(options: argparse.Namespace) -> str | None:
    """Say what has to be done first."""
    sample = Path(os.environ.get("TIERLINK_DATA_DIR", ".tierlink")) / "sample.json"
    if options.identifiers is None and not sample.exists():
        return f"{sample} is missing: start `make up` in this folder, or give --identifiers FILE"
    if options.identifiers is not None and not options.identifiers.exists():
        return f"{options.identifiers} is missing"
    try:
        urllib.request.urlopen(f"{options.host}/healthz", timeout=5).close()  # noqa: S310  (the operator's URL)
    except (OSError, urllib.error.URLError, ValueError) as err:
        return f"nobody answers at {options.host} ({err}): start `make up`, or give --host"
    return None


def _settings(options: argparse.Namespace) -> dict[str, str]:
    parts = os.cpu_count() or 1 if options.processes == -1 else options.processes
    settings = {
        "SHAPE": options.shape,
        "USERS": options.users,
        "TIME": options.time,
        "MISSES": options.misses,
        "CONDITIONAL": options.conditional,
        "RECORDS": max(1, options.records // parts),
        "IDENTIFIERS": options.identifiers,
        "P95": options.check_p95,
        "P99": options.check_p99,
        "ERRORS": options.check_errors,
        "HOLD": options.check_hold,
    }
    return {f"TIERLINK_LOAD_{k}": str(v) for k, v in settings.items() if v is not None}


def _command(options: argparse.Namespace, out: Path) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", HERE / "locustfile.py", "--headless"]
    command += ["--host", options.host, "--csv", out / "stats", "--csv-full-history"]
    command += ["--html", out / "report.html", "--json-file", out / "report"]
    command += ["--only-summary", "--loglevel", "INFO"]
    if options.shape == "constant":
        command += ["-u", options.users, "-r", options.users, "-t", f"{options.time}s"]
    if options.processes != 1:
        command += ["--processes", options.processes]
    return [str(word) for word in [*command, *SCENARIOS[options.scenario]]]


def _servers(options: argparse.Namespace) -> set[int]:
    if not processes.is_here(options.host):
        return set()
    return processes.serving(processes.port_of(options.host))


def _cost(out: Path, spent: float) -> str:
    """Say what 1,000 requests cost the server; the database behind it is not counted."""
    try:
        asked = sum(item["num_requests"] for item in json.loads((out / "report.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return f"server CPU: {spent:.1f} s"
    if not asked:
        return "server CPU: nothing was asked"
    return f"server CPU: {spent:.1f} s, {spent / asked * 1000:.4f} s per 1,000 requests"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
