"""Where a node is among others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Here:
    """Where this node is: its own base URL, and that of the node which serves the root.

    `root` is empty on the node of the root.
    """

    url: str = ""
    root: str = ""

    def home(self, node: str) -> str | None:
        """Return a base URL as a home is stored: None for this node."""
        found = node.rstrip("/")
        return None if found in ("", self.url.rstrip("/")) else found
