"""pg_dump and pg_restore: those of the wheel, else those that are installed.

A password never stands in an argument, where every user of the machine could read it: the tools
are told by the environment where the database is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from sqlalchemy import make_url

from .failure import BackupFailed

_LAST = 2_000  # bytes of what a tool said
_QUERY = {"ssl": "PGSSLMODE", "target_session_attrs": "PGTARGETSESSIONATTRS"}
_KEPT = ("HOME", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGPASSFILE")


def tool(name: str) -> Path:
    """Return where a tool is; raise BackupFailed."""
    try:
        from tierlink.embedded.wheel import client_tools  # noqa: PLC0415  (an extra)

        inside = client_tools()
    except ModuleNotFoundError:
        inside = None
    if inside is not None and (inside / name).exists():
        return inside / name
    found = shutil.which(name)
    if found is None:
        raise BackupFailed(
            f"{name} is not installed",
            fix="pip install 'tierlink[embedded]', or install the client tools of PostgreSQL",
        )
    return Path(found)


def environment(url: str) -> dict[str, str]:
    """Return the environment that leads libpq to the database of a SQLAlchemy URL."""
    given = make_url(url)
    hosts = given.query.get("host", ())
    hosts = (hosts,) if isinstance(hosts, str) else hosts
    places = [host.partition(":") for host in hosts if not host.startswith("/")]
    found = {
        "PGHOST": ",".join(place[0] for place in places) or ",".join(hosts) or given.host or "",
        "PGPORT": ",".join(place[2] or "5432" for place in places) or str(given.port or ""),
        "PGUSER": given.username or "",
        "PGPASSWORD": str(given.password or ""),
        "PGDATABASE": given.database or "",
        "PGAPPNAME": "tierlink",
    }
    for name, variable in _QUERY.items():
        value = given.query.get(name)
        if isinstance(value, str):
            found[variable] = value
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", **kept} | {k: v for k, v in found.items() if v}


async def run(url: str, name: str, *arguments: str | Path) -> None:
    """Run a tool on a database; raise BackupFailed with its last words."""
    process = await asyncio.create_subprocess_exec(
        tool(name),
        *arguments,
        env=environment(url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.terminate()
        raise
    if process.returncode:
        raise BackupFailed(f"{name}: {said[-_LAST:].decode(errors='replace').strip()}")
