"""A PostgreSQL of the benchmark's own: migrated, empty, gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tierlink import embedded, migrations


@contextlib.contextmanager
def database() -> Iterator[tuple[str, Path]]:
    """Yield its URL and its folder."""
    # Not below the scratch folder: the database's account has to reach it, on a short path.
    folder = Path(tempfile.mkdtemp(prefix="tl-bench-"))
    folder.chmod(0o711)
    try:
        server = embedded.start(folder / "node")
        try:
            migrations.upgrade(server.url)
            yield server.url, folder
        finally:
            embedded.stop(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
