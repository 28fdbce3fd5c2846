"""One page of metrics for all workers of a host: every series gets a label that names its worker.

Nothing is summed: a worker that was replaced begins at 0, and whoever sums has to see whose counter
that was (`sum without (worker) (rate(…))`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_HELP, _TYPE = "# HELP ", "# TYPE "


def merged(reports: Mapping[str, str]) -> str:
    """Return one text of the texts of several workers, by their names."""
    families: dict[str, list[str]] = {}
    for worker, text in reports.items():
        for name, lines in _families(text):
            if name not in families:
                families[name] = [line for line in lines if line[0] == "#"]
            families[name] += [_labelled(line, worker) for line in lines if line[0] != "#"]
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _families(text: str) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", list[str]()
    for line in text.splitlines():
        if line.startswith(_HELP):
            if lines:
                yield name, lines
            name, lines = line.split(" ", 3)[2], []
        lines.append(line)
    if lines:
        yield name, lines


def _labelled(line: str, worker: str) -> str:
    name, _, value = line.partition(" ")
    if "{" in name:
        name, _, rest = line.partition("{")
        return f'{name}{{worker="{worker}",{rest}'
    return f'{name}{{worker="{worker}"}} {value}'
