"""Under which account the embedded PostgreSQL runs, and which folders that account can enter.

PostgreSQL refuses to run as root. Started by root, it therefore runs under an account that exists
already; nothing is created, and no folder that we did not make has its permissions changed.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from tierlink.embedded.failure import EmbeddedFailed

CANDIDATES = ("tierlink", "postgres", "nobody")

# Prints the first of its arguments that cannot be entered. access(2) knows ACLs, mode bits do not.
_FIRST_BLOCKED = 'for d; do test -x "$d" || { printf %s "$d"; exit 1; }; done'


class _As(TypedDict, total=False):
    """The arguments of `subprocess` that drop privileges."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server (`name`, `uid`, `gid`) and who may connect to it (`client`)."""

    name: str
    uid: int
    gid: int
    client: str
    dropped: bool  # privileges of root are given up to become this account

    def popen(self) -> _As:
        """Return what makes a child process run under this account."""
        if not self.dropped:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Give `folder`, which we have just made, to this account."""
        if self.dropped:
            os.chown(folder, self.uid, self.gid)

    def blocked_at(self, folder: Path) -> Path | None:
        """Return the outermost folder on the way into `folder` that this account cannot enter."""
        if not self.dropped:
            return None
        way = [*reversed(folder.parents), folder]
        found = subprocess.run(
            ["/bin/sh", "-c", _FIRST_BLOCKED, "sh", *map(str, way)],
            stdout=subprocess.PIPE,
            check=False,
            cwd="/",
            **self.popen(),
        )
        return Path(os.fsdecode(found.stdout)) if found.returncode else None


def choose(cluster: Path) -> Account:
    """Return the account for `cluster`: ourselves, its owner, or the first candidate for root.

    Raise `EmbeddedFailed` where there is none, or where the cluster belongs to somebody else.
    """
    client = _named(os.geteuid())
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, client.pw_uid):
            raise EmbeddedFailed(
                f"{cluster} belongs to the user {_name(owner)}, and we are {client.pw_name}",
                fix="Start as the user who made it, as root, or with another TIERLINK_DATA_DIR",
            )
        return Account(client.pw_name, client.pw_uid, client.pw_gid, client.pw_name, dropped=False)
    chosen = _named(owner) if owner else _candidate()
    return Account(chosen.pw_name, chosen.pw_uid, chosen.pw_gid, client.pw_name, dropped=True)


def _candidate() -> pwd.struct_passwd:
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedFailed(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(CANDIDATES)} exists",
        fix="Add one (useradd --system tierlink), start as another user, "
        "or set TIERLINK_DATABASE_URL",
    )


def _named(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError as err:
        raise EmbeddedFailed(
            f"the user id {uid} has no name on this machine, and PostgreSQL knows users by name",
            fix="Give it an entry in /etc/passwd, or set TIERLINK_DATABASE_URL",
        ) from err


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return str(uid)
