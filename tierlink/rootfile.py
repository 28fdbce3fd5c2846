"""Files of root versions: one envelope a line, the first version first; # begins a remark."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from schemas.errors import BadInput
from tierlink import keyfile

MAX_FILE = 16 * 1024 * 1024


def read_versions(path: Path) -> list[str]:
    """Read the envelopes of a file, none of them checked; raise BadInput where there are none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE).decode("ascii")
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(
            f"the root file cannot be read: {keyfile.reason(err)}",
            value=str(path),
            fix="make one with `tierlink root init`",
        ) from err
    lines = (line.strip() for line in text.splitlines())
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise BadInput("the root file is empty", value=str(path))
    return found


def write_versions(path: Path, versions: Iterable[str], *, over: bool = False) -> None:
    """Write envelopes, a line each; a file that is there is let be unless `over` says so."""
    text = "".join(f"{token}\n" for token in versions)
    if path.exists() and not over:
        raise BadInput(
            "a file of that name is there already", value=str(path), fix="choose another name"
        )
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="ascii")
        beside.replace(path)
    except OSError as err:
        raise BadInput(
            f"the root file cannot be written: {keyfile.reason(err)}", value=str(path)
        ) from err
