"""A node's anchor of trust: the root versions it is founded with, and the newest one it follows.

A file of root versions holds one envelope a line, the first version first, as `tierlink root`
writes it. A line that begins with # says something to people.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from registry import prefixes
from registry.bootstrap import Offline
from registry.config import Settings
from registry.store.engine import Store
from resolver.trust import Verifier
from schemas.errors import BadInput, TierlinkError
from schemas.keys import PrivateKey
from schemas.root import advance
from tierlink import keyfile
from tierlink.rootfile import read_versions

FOLLOW_SECONDS = 1.0  # between two looks whether there is a newer root


def offline(settings: Settings, environ: Mapping[str, str]) -> Offline | None:
    """Return the root that a registry is to be founded with, None where it makes its own."""
    if settings.root_file is None:
        if settings.root_key_file is not None:
            raise BadInput(
                "TIERLINK_ROOT_KEY_FILE is given and TIERLINK_ROOT_FILE is not",
                fix="name the file of the root that lets this key delegate",
            )
        return None
    return Offline(tuple(read_versions(settings.root_file)), _key(settings.root_key_file, environ))


def _key(path: Path | None, environ: Mapping[str, str]) -> PrivateKey | None:
    # Where it is gone, it was taken in at the founding: a file that need not be kept.
    if path is None or not path.exists():
        return None
    return keyfile.load(path, keyfile.passphrase(environ))


async def follow_root(store: Store, verifier: Verifier) -> None:
    """Let a verifier follow the root from version to version for as long as the node runs."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        with contextlib.suppress(TierlinkError):
            async with store.read() as tx:
                versions = await prefixes.roots(tx)
            verifier.renew(advance(verifier.root, versions))
