"""Who asks whom, with which keys and whose trust: read from options, environment, data folder.

What is given on the command line or in the environment goes before what lies in the data folder:
`operator.json` (the root's API key), `sample.json` (the companies of the sample) and
`import-….json` (the companies of imports), all readable by their owner alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import BadInput, Unauthenticated

if TYPE_CHECKING:
    from schemas.chain import Trust
    from schemas.keys import PublicKey, Signer
    from tierlink.client import AsyncClient, Client

_KID = re.compile(r"[A-Za-z0-9_-]{43}")
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  (compared, not bound)


@dataclass(frozen=True, slots=True)
class Known:
    """What the data folder has of a prefix."""

    prefix: str
    api_key: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """The parties of one command. Nothing is read before it is asked for."""

    url: str | None = None
    speaker: str | None = None
    key_file: str | None = None
    trust_file: Path | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment."""
        return os.environ

    @property
    def data_dir(self) -> Path:
        """The data folder."""
        return Path(self.environ.get("TIERLINK_DATA_DIR") or ".tierlink")

    @property
    def base_url(self) -> str:
        """The base URL of the node, by default the one that `tierlink up` starts here."""
        if self.url:
            return self.url
        host = self.environ.get("TIERLINK_HOST", "")
        host = "127.0.0.1" if host in _EVERYWHERE else host
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.environ.get('TIERLINK_PORT') or 8088}"

    @property
    def trust_path(self) -> Path:
        """The file of the trust bundle."""
        return self.trust_file or self.data_dir / "trust.json"

    def trust(self) -> Trust:
        """Read the trust bundle; raise VerifyError E_ROOT."""
        from tierlink.client.context import open_trust

        return open_trust(self.trust_path)

    def api_key(self) -> str | None:
        """Return the API key, None where nobody gave one."""
        if self.speaker:
            found = self._speaker().api_key
            if found is None:
                raise _nobody(self.speaker, self.data_dir)
            return found
        from tierlink import keyfile

        return keyfile.secret(self.environ, "TIERLINK_API_KEY")

    @property
    def named(self) -> bool:
        """Tell whether somebody in particular asks, who may see more than everybody."""
        return self.api_key() is not None

    def kept_key(self, prefix: str) -> str | None:
        """Return the API key that the data folder has of a prefix, if any."""
        return next((item.api_key for item in self._known() if item.prefix == prefix), None)

    @property
    def api_key_given(self) -> bool:
        """Tell whether the environment names an API key."""
        names = ("TIERLINK_API_KEY", "TIERLINK_API_KEY_FILE")
        return any(self.environ.get(name) for name in names)

    def operator_key(self) -> str | None:
        """Return the API key, or the root's where nobody gave one."""
        given = self.api_key()
        if given is not None:
            return given
        return self.kept_key(".")

    def signer(self) -> Signer | None:
        """Return the key to sign with, None where the registry is to sign."""
        named = self.key_file
        if named is None and self.speaker:
            stored = self._speaker().key_file
            named = self._near(stored) if stored else None
        return None if named is None else self.open_key(named)

    def open_key(self, name: str) -> Signer:
        """Open a key by the path of its file or its PKCS#11 URI; raise BadInput."""
        from tierlink.custody import open_signer

        return open_signer(name, self.environ)

    def open_keys(self, names: Iterable[str] | None) -> list[Signer]:
        """Open several keys."""
        return [self.open_key(name) for name in names or ()]

    def signers(self, names: Iterable[str] | None) -> list[Signer]:
        """Open the keys named, else the one of TIERLINK_KEY or --as; none where nobody has one."""
        if names:
            return self.open_keys(names)
        named = self.environ.get("TIERLINK_KEY")
        if named:
            return [self.open_key(named)]
        found = self.signer()
        return [] if found is None else [found]

    def public_key(self, name: str) -> PublicKey:
        """Return the public half of a key, or the public key that a JSON file of keygen tells."""
        path = Path(name)
        text = path.read_bytes() if path.is_file() else b""
        if not text.lstrip().startswith(b"{"):
            return self.open_key(name).public
        from schemas.keys import PublicKey

        document = _read(path)
        jwk = document.get("jwk", document)
        if not isinstance(jwk, dict):
            raise BadInput("holds no public key", value=name, fix="tierlink keygen --json tells it")
        return PublicKey.from_jwk(jwk)

    def kid(self, name: str) -> str:
        """Return a thumbprint: as it is given, or that of a key."""
        if _KID.fullmatch(name) and not Path(name).exists():
            return name
        return self.public_key(name).kid

    def holder(self) -> Client:
        """Open a client that speaks for a prefix and signs by keys that are named one by one."""
        from tierlink.client import Client

        return Client(self.base_url, api_key=required(self.api_key()))

    def reader(self) -> Client:
        """Open a client that verifies what it reads."""
        from tierlink.client import Client

        return Client(self.base_url, trust=self.trust(), api_key=self.api_key())

    def plain(self) -> Client:
        """Open a client for what is not verified."""
        from tierlink.client import Client

        return Client(self.base_url, api_key=self.api_key())

    def writer(self) -> Client:
        """Open a client that speaks for a prefix; raise Unauthenticated without an API key."""
        from tierlink.client import Client

        return Client(
            self.base_url,
            api_key=required(self.api_key()),
            signer=self.signer(),
            trust=self._trust_if_any(),
        )

    def allocator(self) -> Client:
        """Open a client that allocates: for the prefix named, else for the root."""
        from tierlink.client import Client

        return Client(self.base_url, api_key=required(self.operator_key()))

    def connect(self, api_key: str, signer: Signer | None) -> AsyncClient:
        """Open an asynchronous client for a holder."""
        from tierlink.client import AsyncClient

        return AsyncClient(
            self.base_url, api_key=api_key, signer=signer, trust=self._trust_if_any()
        )

    def _trust_if_any(self) -> Trust | None:
        # Saying a link anew reads what was said before, and that is verified.
        return self.trust() if self.trust_path.exists() else None

    def _speaker(self) -> Known:
        found = next((item for item in self._known() if item.prefix == self.speaker), None)
        if found is None:
            raise _nobody(self.speaker, self.data_dir)
        return found

    def _known(self) -> Iterator[Known]:
        for path in (
            self.data_dir / "operator.json",
            self.data_dir / "sample.json",
            *sorted(self.data_dir.glob("import-*.json")),
        ):
            if path.exists():
                yield from _holders(_read(path))

    def _near(self, stored: str) -> str:
        """Find a key file that may have moved together with the data folder."""
        from tierlink.custody import in_token

        if in_token(stored):
            return stored
        path = Path(stored)
        for beside in (self.data_dir / path, self.data_dir / path.parent.name / path.name):
            if not path.exists() and beside.exists():
                return str(beside)
        return stored


def _read(path: Path) -> Mapping[str, object]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise BadInput(f"cannot be read: {err}", value=str(path)) from err
    return document if isinstance(document, dict) else {}


def _holders(document: Mapping[str, object]) -> Iterator[Known]:
    """Go through the holders of a file: one of its own, its enterprises, its companies."""
    if "api_key" in document:
        yield _one(document)
    if isinstance(document.get("parent"), str) and "parent_api_key" in document:
        yield Known(str(document["parent"]), str(document["parent_api_key"]))
    for name in ("enterprises", "companies"):
        found = document.get(name)
        for item in found if isinstance(found, list) else ():
            if isinstance(item, dict):
                yield _one(item)


def _one(item: Mapping[str, object]) -> Known:
    api_key, key_file = item.get("api_key"), item.get("key_file")
    return Known(
        str(item.get("prefix")),
        api_key if isinstance(api_key, str) else None,
        key_file if isinstance(key_file, str) and key_file else None,
    )


def sole(prefix: str) -> str | None:
    """Return for whom to speak where it is about a prefix: for it, where no API key is given."""
    return None if Session().api_key_given else prefix


def required(api_key: str | None) -> str:
    """Return the API key; raise Unauthenticated where there is none."""
    if api_key is None:
        raise Unauthenticated(
            "no API key is given",
            fix="set TIERLINK_API_KEY or TIERLINK_API_KEY_FILE, or name a prefix with --as",
        )
    return api_key


def _nobody(prefix: str | None, data_dir: Path) -> BadInput:
    return BadInput(
        f"{data_dir} has no API key of this prefix",
        value=prefix,
        fix="set TIERLINK_API_KEY, or name the folder with TIERLINK_DATA_DIR",
    )
