"""Run a headless load test against a node on this machine and judge it by its budgets.

    make load                                        mixed, 20 users, 30 s, against `make up`
    make load ARGS="--scenario resolve --users 64 --check-p99 20"

Exit code 0: within every budget; 1: beyond one, or an answer was wrong; 2: usage.
Results (CSV, HTML, JSON) go to loadtests/results/<time>-<scenario>/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).parent
READING = ["ResolveUser", "BatchUser", "TraceUser"]
SCENARIOS = {
    "resolve": ["ResolveUser"],
    "batch": ["BatchUser"],
    "trace": ["TraceUser"],
    "register": ["RegisterUser"],
    "mixed": READING,
    "mixed-write": [*READING, "RegisterUser"],
}
SHAPES = ("constant", "ramp", "step", "spike", "soak")


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line."""
    port = os.environ.get("TIERLINK_PORT", "8088")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--host", default=f"http://127.0.0.1:{port}", help="base URL of the node")
    parser.add_argument("--scenario", choices=SCENARIOS, default="mixed")
    parser.add_argument("--shape", choices=SHAPES, default="constant")
    parser.add_argument("--users", type=int, default=20, help="simulated partners at the peak")
    parser.add_argument("--time", type=int, default=30, help="seconds; at most 86,400")
    parser.add_argument("--processes", type=int, default=1, help="load generator processes")
    parser.add_argument("--misses", type=float, default=0.02, help="share of unknown identifiers")
    parser.add_argument("--identifiers", type=Path, help="file of identifiers, one a line")
    parser.add_argument("--check-p95", type=float, metavar="MS")
    parser.add_argument("--check-p99", type=float, metavar="MS")
    parser.add_argument("--check-errors", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument(
        "--elsewhere", action="store_true", help="allow a host that is not this machine"
    )
    options = parser.parse_args(given)
    if not 1 <= options.time <= 86_400:  # noqa: PLR2004
        parser.error("--time is from 1 to 86,400 seconds")
    if not options.elsewhere and not _here(options.host):
        parser.error(f"{options.host} is another machine; --elsewhere says that you may load it")
    return options


def _here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def main(given: list[str]) -> int:
    """Start locust with the settings and return its verdict."""
    options = arguments(given)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    out = options.out or HERE / "results" / f"{stamp}-{options.scenario}"
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "TIERLINK_LOAD_SHAPE": options.shape,
        "TIERLINK_LOAD_USERS": options.users,
        "TIERLINK_LOAD_TIME": options.time,
        "TIERLINK_LOAD_MISSES": options.misses,
        "TIERLINK_LOAD_IDENTIFIERS": options.identifiers,
        "TIERLINK_LOAD_P95": options.check_p95,
        "TIERLINK_LOAD_P99": options.check_p99,
        "TIERLINK_LOAD_ERRORS": options.check_errors,
    }
    command = [sys.executable, "-m", "locust", "-f", HERE / "locustfile.py", "--headless"]
    command += ["--host", options.host, "--csv", out / "stats", "--html", out / "report.html"]
    command += ["--json-file", out / "report", "--only-summary", "--loglevel", "INFO"]
    if options.shape == "constant":
        command += ["-u", str(options.users), "-r", str(options.users), "-t", f"{options.time}s"]
    if options.processes > 1:
        command += ["--processes", str(options.processes)]
    command += SCENARIOS[options.scenario]
    environment = {name: str(value) for name, value in settings.items() if value is not None}
    code = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
    print(f"results in {out}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
