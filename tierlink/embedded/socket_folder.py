"""The folder of the server's socket: private to its account, and short enough for an address.

It is `<data_dir>/run`, or, where that path does not fit, a folder below /tmp made for the purpose
and named in `<data_dir>/pg.socket`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from tierlink.embedded.account import Account
from tierlink.embedded.cluster import Cluster

_SOCKET = ".s.PGSQL.5432"
_PATH_MAX = 103 if sys.platform == "darwin" else 107  # bytes: sun_path without its NUL
_OUTSIDE = "tierlink-"


def fresh(cluster: Cluster) -> Path:
    """Return an empty folder, 0700, of the server's account.

    Empty, because the lock file of a dead server names a pid that may by now be somebody else's.
    """
    discard(cluster)
    inside = cluster.data_dir / "run"
    if _usable(inside):
        inside.mkdir(mode=0o700)
        cluster.account.own(inside)
        return inside
    outside = Path(tempfile.mkdtemp(prefix=_OUTSIDE, dir="/tmp"))  # 0700, and short
    cluster.account.own(outside)
    _record(cluster).write_text(f"{outside}\n")
    return outside


def discard(cluster: Cluster) -> None:
    """Remove the folder of a server that is gone."""
    shutil.rmtree(cluster.data_dir / "run", ignore_errors=True)
    record = _record(cluster)
    if record.exists():
        _discard_outside(Path(record.read_text().strip()), cluster.account)
        record.unlink()


def _record(cluster: Cluster) -> Path:
    return cluster.data_dir / "pg.socket"


def _usable(folder: Path) -> bool:
    """Tell whether the path fits a socket address, and a URL in which `,` and `:` part hosts."""
    fits = len(os.fsencode(folder / _SOCKET)) <= _PATH_MAX
    return fits and str(folder).isprintable() and not {",", ":"} & set(str(folder))


def _discard_outside(folder: Path, account: Account) -> None:
    """Remove a recorded folder if it is still ours: /tmp is everybody's, and is swept at boot."""
    try:
        owner = folder.lstat().st_uid
    except FileNotFoundError:
        return
    if owner == account.uid and folder.name.startswith(_OUTSIDE):
        shutil.rmtree(folder, ignore_errors=True)
