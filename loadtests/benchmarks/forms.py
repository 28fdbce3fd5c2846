"""Other hot answers of a resolver: 304, redirects and batches, against its plain hit.

A real resolver over a registry's database, everything kept in its first cache. In turns.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from . import harness
from .harness import Contestant, Result, Row, Settings, Target
from .parts import PREFIX, Holder, database, role

HOT = 2_000
SMALL, LARGE = 100, 1_000  # identifiers of a batch
FEW = 4  # connections for large ones: as much is then under way as with small ones over all
EVEN, MORE = 0.9, 5.0  # targets


@dataclass(frozen=True)
class _Draws:
    """The files that wrk reads."""

    plain: Path  # targets with their entity tags
    redirects: Path  # targets that ask for a link type
    names: Path  # identifiers


def measure(settings: Settings) -> list[Result]:
    """Fill the cache, then compare."""
    settings = harness.brisk(settings)
    names = [f"{PREFIX}/F-{number:06d}" for number in range(HOT)]
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(database())
        with role("registry", data, settings) as registry:
            holder = Holder(registry.url, data.folder)
            holder.register(name.partition("/")[2] for name in names)
        resolver = stack.enter_context(role("resolver", data, settings))
        draws = _asked(resolver.url, names, settings.scratch)
        return [_small(resolver, draws, settings), _batches(resolver, draws, settings)]


def _asked(url: str, names: list[str], scratch: Path) -> _Draws:
    """Ask for everything once, and write down what to ask for."""
    draws = _Draws(scratch / "forms.txt", scratch / "redirects.txt", scratch / "names.txt")
    plain, redirects = [], []
    with httpx.Client(base_url=url) as client:
        for name in names:
            etag = client.get(f"/{name}").raise_for_status().headers["etag"]
            plain.append(f"/{name}\t{etag}\n")
            target = f"/{name}?linkType=gs1:pip"
            if client.get(target).status_code != httpx.codes.TEMPORARY_REDIRECT:
                raise RuntimeError(f"{target} is no redirect")
            redirects.append(f"{target}\t\n")
    draws.plain.write_text("".join(plain))
    draws.redirects.write_text("".join(redirects))
    draws.names.write_text("".join(f"{name}\n" for name in names))
    return draws


def _small(resolver: Contestant, draws: _Draws, settings: Settings) -> Result:
    full, unchanged, sent_on = harness.each(["200", "304", "307"])
    for _ in range(settings.runs):
        for row, file, conditional in (
            (full, draws.plain, False),
            (unchanged, draws.plain, True),
            (sent_on, draws.redirects, False),
        ):
            resolver.row = row
            row.samples.append(harness.wrk(resolver, file, settings, conditional=conditional))
    return Result(
        "Answers without a body, a real resolver",
        [full, unchanged, sent_on],
        [
            Target("304 / hot resolve", harness.ratio(unchanged, full), EVEN),
            Target("307 / hot resolve", harness.ratio(sent_on, full), EVEN),
        ],
    )


def _batches(resolver: Contestant, draws: _Draws, settings: Settings) -> Result:
    """Compare the identifiers of a second, about as many of them under way at a time.

    Judged by the largest batches that a request may have: who sends batches, sends many.
    """
    few = replace(settings, connections=FEW)
    full = Row("one at a time", unit="identifiers/s")
    small = Row(f"batches of {SMALL:,}", unit="identifiers/s")
    large = Row(f"batches of {LARGE:,}, {FEW} connections", unit="identifiers/s")
    for _ in range(settings.runs):
        resolver.row = full
        full.samples.append(harness.wrk(resolver, draws.plain, settings))
        for row, size, load in ((small, SMALL, settings), (large, LARGE, few)):
            resolver.row = row
            row.samples.append(harness.wrk(resolver, draws.names, load, batch=size))
    return Result(
        "Batch resolve, hot",
        [full, small, large],
        [
            Target(
                "batch resolve, hot, identifiers/s / hot resolve", harness.ratio(large, full), MORE
            )
        ],
        [
            (
                f"in batches of {SMALL:,}: {harness.ratio(small, full):.2f}; times are of whole"
                " batches, CPU of 1,000 identifiers"
            )
        ],
    )
