"""What every role of a node is built from: its settings, its keyring, its database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.config import Settings
from registry.here import Here
from resolver.config import ResolverSettings
from schemas.errors import BadInput
from schemas.sm2 import SWITCH
from tierlink.custody import admit_algorithms
from tierlink.ending import Ending
from tierlink.place import PlaceSettings
from tierlink.settings import NodeSettings, keyring_key, load

if TYPE_CHECKING:
    from registry.keyring import Keyring

LAME_DUCK = {"embedded": 0.5, "production": 5.0}  # seconds, by profile


def say(line: str) -> None:
    """Tell the operator, at once."""
    print(line, flush=True)  # noqa: T201  (the foreground command talks on standard output)


@dataclass(frozen=True, slots=True)
class Node:
    """The settings of all parts, read once."""

    node: NodeSettings
    registry: Settings
    resolver: ResolverSettings
    place: PlaceSettings

    @classmethod
    def read(cls, role: str | None = None) -> Node:
        """Read the environment, and admit the algorithms it names; raise BadInput.

        `role` goes before TIERLINK_ROLE.
        """
        given = {} if role is None else {"role": role}
        node, place = load(NodeSettings), load(PlaceSettings, **given)
        admit_algorithms({SWITCH: node.sm2})
        registry, resolver = Settings.load(), load(ResolverSettings)
        if place.joins is not None and not resolver.public_url:
            raise BadInput(
                f"TIERLINK_PUBLIC_URL is needed by a node of role {place.role}",
                fix="say where other nodes reach this one",
            )
        if place.role != "root" and registry.root_file is None:
            raise BadInput(
                f"TIERLINK_ROOT_FILE is needed by a node of role {place.role}",
                fix="name a file with the root versions, one a line",
            )
        return cls(node, registry, resolver, place)

    @property
    def here(self) -> Here:
        """Where this node is among others."""
        return Here(self.resolver.public_url, self.place.root_url)

    def keyring(self) -> Keyring:
        """Return the keyring under the given key, or under one kept in the data folder."""
        from registry.keyring import Keyring  # noqa: PLC0415  (a resolver has none)

        return Keyring(self.registry.kek or keyring_key(self.node.data_dir))

    @property
    def lame_duck(self) -> float:
        """Seconds between being told to end and accepting no more."""
        given = self.node.drain_seconds
        return LAME_DUCK[self.registry.profile] if given is None else given

    def ending(self) -> Ending:
        """Return how this node will end."""
        return Ending(self.lame_duck)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Give the URL of the database; where none is given, run the embedded one."""
        if self.registry.url is not None:
            yield self.registry.url
            return
        from tierlink import embedded  # noqa: PLC0415  (an extra)

        started = embedded.start(self.node.data_dir, log=say)
        try:
            yield started.url
        finally:
            embedded.stop(started)
