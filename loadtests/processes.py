"""Who serves a port of this machine, and how much processor time that has cost so far.

Requests per second say what this machine did on this day; CPU-seconds per 1,000 requests say what
the work costs, and hold (nearly) on a busy machine too. Linux only: elsewhere there is nobody.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

_LISTENING = "0A"
_PROC = Path("/proc")


def is_here(url: str) -> bool:
    """Tell whether a URL is of this machine by its loopback address; names are not looked up."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serving(port: int) -> set[int]:
    """Return the processes that listen on a TCP port: a server and its workers.

    A database or cache behind them is not among them, nor what we may not look at.
    """
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    return {pid for pid in _pids() if wanted and not wanted.isdisjoint(_open_by(pid))}


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes until now; one that has ended counts nothing."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            # The name in parentheses may hold spaces.
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        table = _PROC / "net" / name
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> list[int]:
    return (
        [int(item.name) for item in _PROC.iterdir() if item.name.isdigit()]
        if _PROC.exists()
        else []
    )


def _open_by(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found


def port_of(url: str) -> int:
    """Return the port of an http or https URL."""
    parts = urlsplit(url)
    return parts.port or socket.getservbyname(parts.scheme or "http")
