"""Settings of a node as a whole: where it listens, where its files are, what it loads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import BadInput
from schemas.keys import b64encode

KEK_BYTES = 32
KEYRING = "keyring.key"  # in the data folder

T = TypeVar("T", bound=BaseSettings)


class NodeSettings(BaseSettings):
    """What `tierlink up`, `registry` and `resolver` read from TIERLINK_… variables."""

    model_config = SettingsConfigDict(env_prefix="TIERLINK_", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, description="address or name to listen on")
    port: int = Field(
        default=8088, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    data_dir: Path = Field(
        default=Path(".tierlink"), description="folder of the database, the keys and the sample"
    )
    sample: Literal["battery", "none"] = Field(
        default="battery", description="the supply chain that `up` loads into an empty node"
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="processes of `tierlink resolver` on this host"
    )
    drain_seconds: float | None = Field(
        default=None,
        ge=0,
        le=300,
        description="seconds, once told to stop, in which /readyz says 503 and everything else is "
        "answered as before; 0.5 where not given, 5 in the production profile",
    )
    sm2: str = Field(
        default="0",
        description="1 admits SM2 keys and signatures, by the system's OpenSSL 3; "
        "a path does by that libcrypto",
    )


def load(kind: type[T], **given: object) -> T:
    """Read settings from the environment, but for what is given; raise BadInput that names one."""
    make: Callable[..., T] = kind
    try:
        return make(**given)
    except ValidationError as err:
        first = err.errors()[0]
        if not first["loc"]:  # of all together, among which may be secrets
            raise BadInput(first["msg"].removeprefix("Value error, ")) from None
        name = "TIERLINK_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInput(f"{name}: {first['msg']}", value=first["input"]) from None


def keyring_key(data_dir: Path) -> bytes:
    """Return the key that encrypts hosted keys in this folder, made on the first start (0600)."""
    path = data_dir / KEYRING
    if not path.exists():
        private_write(path, b64encode(secrets.token_bytes(KEK_BYTES)) + "\n", keep=True)
    from registry.config import decode_key  # noqa: PLC0415  (a partner's client has no registry)

    return decode_key(path.read_text(encoding="ascii").strip())


def private_write(path: Path, text: str, *, keep: bool = False) -> None:
    """Write a file of mode 0600, whole or not at all; with `keep` never over an existing one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(unfinished, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if keep:
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    else:
        unfinished.replace(path)
