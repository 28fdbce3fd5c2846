"""tierlink for partners' own programs: `Client`, `AsyncClient`, `verify` and `open_signer`.

    from tierlink import Client

    with Client("https://node.example", trust="trust.json") as client:
        answer = client.resolve("88.118.8/PACK-0001")

Each name is loaded when it is first used; importing the package opens and reads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierlink.client import AsyncClient, Client
    from tierlink.client.verdict import verify
    from tierlink.custody import enable_sm2, open_signer

__all__ = ["AsyncClient", "Client", "enable_sm2", "open_signer", "verify"]

_HOME = {
    "AsyncClient": "tierlink.client",
    "Client": "tierlink.client",
    "enable_sm2": "tierlink.custody",
    "open_signer": "tierlink.custody",
    "verify": "tierlink.client.verdict",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
