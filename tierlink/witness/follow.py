"""The logs that a witness follows: keys by origin, from a setting and from a file that may change.

The file has a verification key (`name+hex id+base64`) a line; empty lines and lines that begin
with # say nothing. It is read again when it has changed, so that a log is added without a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from schemas.checkpoint import SIGNED_NOTE, NoteKey
from schemas.errors import BadInput, VerifyError

_log = logging.getLogger("tierlink.witness")


class Followed:
    """Who may sign for which origin. The key of a log is named after its origin."""

    def __init__(self, vkeys: Iterable[str], file: Path | None = None) -> None:
        """Take keys, and a file that need not be there yet; raise BadInput."""
        self._fixed = parse_vkeys(vkeys)
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._keys = self._fixed
        self._refresh()

    def origins(self) -> list[str]:
        """Return the origins, in order."""
        self._refresh()
        return sorted({key.name for key in self._keys})

    def keys(self, origin: str) -> list[NoteKey]:
        """Return the keys of an origin; none where it is not followed."""
        self._refresh()
        return [key for key in self._keys if key.name == origin]

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            self._seen = seen
            lines = self._file.read_text(encoding="utf-8").splitlines()
            self._keys = self._fixed + parse_vkeys(lines)
            _log.info("%s: %d keys", self._file, len(self._keys))
        except FileNotFoundError:
            return  # a log may not have been founded yet; what was known stays known
        except (OSError, UnicodeDecodeError, BadInput) as err:
            _log.error("%s: %s; the keys before it stand", self._file, err)


def parse_vkeys(lines: Iterable[str]) -> tuple[NoteKey, ...]:
    """Read keys of logs; raise BadInput that shows the line."""
    found = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            key = NoteKey.parse(text)
        except VerifyError as err:
            raise BadInput(f"not the key of a log: {err.detail}", value=text) from None
        if key.kind != SIGNED_NOTE:
            raise BadInput("this is the key of a witness, not of a log", value=text)
        found.append(key)
    return tuple(found)
