"""The measured comparison: one module per thing under benchmarks/, one table for all.

    make bench                                  everything, figures on the screen
    make bench ARGS="hot --seconds 2"           some of it, shorter
    make bench ARGS="--growth 5000000 --write"  also into docs/performance.md

Servers run on core 0, the load on core 1, all on loopback ports of their own. Each module of
benchmarks/ with a `measure(settings)` is a benchmark. Exit code 0: every target met; 1: one missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import os
import pkgutil
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarks
from benchmarks import harness
from benchmarks.harness import Result, Settings

PAGE = harness.ROOT / "docs" / "performance.md"
HEAD = """# Performance

Written by `make bench ARGS=--write`: the server on one core, the load on another,
{connections} keep-alive connections, {identifiers:,} identifiers, medians. Compare the ratios: they
are of neighbours in one run, on a shared machine that is fast or slow for seconds at a time.
Where the time of each path goes is in [operations.md](operations.md#what-bounds-the-speed).

## Targets
"""
TARGET = re.compile(r"^\|.*\| [≥≤] .*\|$", re.MULTILINE)  # a row that judges a ratio
ORDER = (
    "hot",
    "forms",
    "tiers",
    "growth",
    "startup",
    "service",
    "singles",
    "trace",
    "federation",
)  # first these, then whatever else there is


def known() -> list[str]:
    """Return the names of the benchmarks."""
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    measuring = [
        name for name in found if hasattr(importlib.import_module(f"benchmarks.{name}"), "measure")
    ]
    return sorted(measuring, key=lambda name: (*ORDER, name).index(name))


def arguments(given: Sequence[str], names: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("benchmarks", nargs="*", help=f"some of: {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=2, help="turns of each contestant")
    parser.add_argument("--seconds", type=int, default=5, help="length of a turn")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--identifiers", type=int, default=100_000)
    parser.add_argument(
        "--growth", type=int, default=500_000, help="identifiers of the large registry"
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args(given)
    unknown = set(options.benchmarks) - set(names)
    if unknown:
        parser.error(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(names)}"
        )
    return options


def main(given: Sequence[str]) -> int:
    """Measure, print, and judge."""
    names = known()
    options = arguments(given, names)
    if harness.need("wrk") is None:
        print("the load generator is missing: install wrk (Debian: apt install wrk)")
        return 2
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="tierlink-bench-") as scratch:
        settings = Settings(
            options.runs,
            options.seconds,
            options.connections,
            options.identifiers,
            Path(scratch),
            options.growth,
        )
        for name in options.benchmarks or names:
            for result in importlib.import_module(f"benchmarks.{name}").measure(settings):
                results.append(result)
                print("\n".join(table(result)), flush=True)
    if options.write:
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        PAGE.write_text(page(before, results, options), encoding="utf-8")
        print(f"written: {PAGE}")
    return 0 if all(target.met for result in results for target in result.targets) else 1


def table(result: Result) -> Iterator[str]:
    """Yield one benchmark as Markdown."""
    yield f"\n## {result.title}\n"
    yield "| what | per second | p50 ms | p99 ms | server CPU ms / 1,000 | failed |"
    yield "|---|---|---|---|---|---|"
    for row in result.rows:
        p50, p99, cpu = (row.median(of) for of in ("p50_ms", "p99_ms", "cpu_ms"))
        failed = sum(sample.failed for sample in row.samples)
        rate = f"{row.median('per_second'):,.0f} {row.unit}"
        yield f"| {row.name} | {rate} | {p50:.2f} | {p99:.2f} | {cpu:.1f} | {failed} |"
    if result.targets:
        yield "\n| ratio | measured | target | |\n|---|---|---|---|"
    for target in result.targets:
        sign, verdict = "≤" if target.at_most else "≥", "met" if target.met else "**missed**"
        yield f"| {target.what} | {target.actual:.2f} | {sign} {target.bound:g} | {verdict} |"
    yield from (f"\n{remark}" for remark in result.remarks)


def page(before: str, results: Sequence[Result], options: argparse.Namespace) -> str:
    """Return the page: all targets in one table, then what was measured, a section for each.

    What was not measured now stays as it was `before`; each section says when that was.
    """
    sections = sections_of(before)
    measured = (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, commit {commit()}; {processor()},"
        f" {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python"
        f" {platform.python_version()}; {options.runs} x {options.seconds} s"
    )
    for result in results:
        first, *rest = table(result)
        sections[result.title] = "\n".join([first.strip(), "", f"Measured {measured}.\n", *rest])
    targets = [
        f"| {title} {row}" for title, text in sections.items() for row in TARGET.findall(text)
    ]
    lines = [
        HEAD.format(connections=options.connections, identifiers=options.identifiers),
        "| of | ratio | measured | target | |",
        "|---|---|---|---|---|",
        *targets,
    ]
    return "\n".join([*lines, *(f"\n{text.strip()}" for text in sections.values())]) + "\n"


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a page by their titles, without the table of all targets."""
    parts = [part.strip() for part in text.split("\n## ")[1:]]
    found = {part.partition("\n")[0]: f"## {part}" for part in parts}
    return {title: section for title, section in found.items() if title != "Targets"}


def commit() -> str:
    """Return the commit that was measured; `+` where the tree differs from it."""
    git = ["git", "-C", str(harness.ROOT)]
    done = subprocess.run(
        [*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
