"""Counters, gauges and histograms in the Prometheus text format, rendered when asked for.

A counter is an attribute that its owner adds to; nothing is locked, because one event loop owns
each set. A gauge is a function called at scrape time, so that hot code keeps plain integers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class Counter:
    """A number that only grows."""

    value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count."""
        self.value += amount


@dataclass(slots=True)
class Histogram:
    """How long things took, in buckets of seconds."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class _Family:
    help: str
    kind: str
    members: dict[str, Counter | Histogram | Callable[[], float]] = field(default_factory=dict)


class Metrics:
    """One set of metrics; `counter` and `histogram` return the same object for the same name."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    def counter(self, name: str, explained: str, **labels: str) -> Counter:
        """Return the counter of a name and labels."""
        members = self._family(name, explained, "counter").members
        found = members.setdefault(_labels(labels), Counter())
        assert isinstance(found, Counter), name
        return found

    def histogram(
        self, name: str, explained: str, bounds: Sequence[float], **labels: str
    ) -> Histogram:
        """Return the histogram of a name and labels."""
        members = self._family(name, explained, "histogram").members
        found = members.setdefault(_labels(labels), Histogram(bounds))
        assert isinstance(found, Histogram), name
        return found

    def gauge(self, name: str, explained: str, read: Callable[[], float], **labels: str) -> None:
        """Have a value read at every scrape."""
        self._family(name, explained, "gauge").members[_labels(labels)] = read

    def count(self, name: str, explained: str, read: Callable[[], float], **labels: str) -> None:
        """Have a counter that its owner keeps as a plain number read at every scrape."""
        self._family(name, explained, "counter").members[_labels(labels)] = read

    def _family(self, name: str, explained: str, kind: str) -> _Family:
        family = self._families.setdefault(name, _Family(explained, kind))
        assert family.kind == kind, name
        return family

    def text(self) -> bytes:
        """Return everything in the text format."""
        return ("\n".join(self._lines()) + "\n").encode()

    def _lines(self) -> Iterator[str]:
        for name, family in self._families.items():
            yield f"# HELP {name} {family.help}"
            yield f"# TYPE {name} {family.kind}"
            for labels, member in family.members.items():
                if isinstance(member, Histogram):
                    yield from _histogram_lines(name, labels, member)
                else:
                    value = member.value if isinstance(member, Counter) else member()
                    yield f"{name}{_braced(labels)} {_number(value)}"


def _histogram_lines(name: str, labels: str, histogram: Histogram) -> Iterator[str]:
    seen = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        seen += count
        le = f'le="{_number(bound)}"'
        yield f"{name}_bucket{_braced(f'{labels},{le}' if labels else le)} {seen}"
    yield f"{name}_sum{_braced(labels)} {_number(histogram.total)}"
    yield f"{name}_count{_braced(labels)} {seen}"


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
