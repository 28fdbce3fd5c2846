"""The registry's settings: environment variables named TIERLINK_…, a secret also as …_FILE.

Two profiles. `embedded` is one process on one machine: it makes what is not given. `production`
refuses to start without what it must be given, and says which variable is amiss.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import BadInput

KEK_BYTES = 32
RECOVERY_SECONDS = 7 * 24 * 3600  # a holder who is away for a week comes back in time to object
RECOVERY_MINIMUM = 24 * 3600  # in production
CHANGES_KEPT = 7 * 24 * 3600.0  # a resolver that was off for a week begins anew in a second
PREFIX = "TIERLINK_"

_SECRETS = ("database_url", "primary_url", "keyring_key")


def _asyncpg(value: SecretStr) -> SecretStr:
    scheme, separator, rest = value.get_secret_value().partition("://")
    if not separator or scheme not in ("postgresql+asyncpg", "postgresql", "postgres"):
        raise ValueError("it is not a postgresql+asyncpg:// URL")
    return SecretStr(f"postgresql+asyncpg://{rest}")


def _kek(value: SecretStr) -> SecretStr:
    decode_key(value.get_secret_value())
    return value


class Settings(BaseSettings):
    """What the registry reads from the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    profile: Literal["embedded", "production"] = "embedded"
    database_url: Annotated[SecretStr, AfterValidator(_asyncpg)] | None = Field(
        None, description="postgresql+asyncpg://…; without it the embedded profile starts its own"
    )
    database_url_file: Path | None = Field(None, description="a file that holds the database URL")
    primary_url: Annotated[SecretStr, AfterValidator(_asyncpg)] | None = Field(
        None,
        description="of a resolver whose database is a standby: its primary, or all nodes with "
        "target_session_attrs=read-write; readings wait until the standby has what stands there",
    )
    primary_url_file: Path | None = Field(None, description="a file that holds the primary URL")
    database_pool: int = Field(20, ge=1, le=1000, description="connections per process")
    keyring_key: Annotated[SecretStr, AfterValidator(_kek)] | None = Field(
        None,
        description="32 bytes in base64url that encrypt hosted signing keys; "
        "without it the embedded profile makes one in its data folder",
    )
    keyring_key_file: Path | None = Field(None, description="a file that holds the keyring key")
    recovery_seconds: int = Field(
        RECOVERY_SECONDS,
        ge=1,
        le=365 * 24 * 3600,
        description="how long a recovery waits for its holder's objection; "
        "a day at least in the production profile",
    )
    root_file: Path | None = Field(
        None,
        description="the root versions, one a line, of a root whose keys are kept elsewhere; "
        "without it the registry makes a root key and hosts it",
    )
    root_key_file: Path | None = Field(
        None, description="a key file that this root lets delegate; read once, at the founding"
    )

    changes_kept: float = Field(
        CHANGES_KEPT,
        ge=60,
        le=10 * 365 * 24 * 3600,
        description="seconds for which changes are kept once log and resolvers have passed them: "
        "whoever goes on from an older place is told to begin anew",
    )

    log_origin: str | None = Field(
        None,
        pattern=r"^[!-*,-~]+$",
        max_length=255,
        description="name of the transparency log, such as registry.example/log; it is given once, "
        "at the founding, and made up where it is not",
    )
    log_epoch_seconds: float = Field(
        1.0, ge=0.05, le=3600, description="seconds between two checkpoints of the log"
    )
    log_witnesses: str = Field(
        "", description="who cosigns the checkpoints: `<url> <vkey>` of each, or `<url> @<file>`"
    )
    log_quorum: int | None = Field(
        None, ge=0, le=64, description="how many of them must; more than half where not given"
    )
    log_max_age: int | None = Field(
        None, ge=2, description="seconds after which a checkpoint proves nothing current any more"
    )
    log_vkey_file: Path | None = Field(
        None, description="a file to write the log's own verification key into, for witnesses"
    )

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the environment, `given` overriding it; raise BadInput that names the variable."""
        try:
            return cls(**given)
        except ValidationError as err:
            first = err.errors()[0]
            name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
            message = first["msg"].removeprefix("Value error, ")
            # Never the value: it may be a secret with one wrong character.
            raise BadInput(
                message if message.startswith(PREFIX) else f"{name}: {message}",
                fix=f"correct {name}" if first["loc"] else None,
            ) from None

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:
        """Take a secret from its file where …_FILE is given."""
        assert isinstance(values, dict)
        found = dict(values)
        for name in _SECRETS:
            path = found.get(f"{name}_file")
            if path is None:
                continue
            if found.get(name) is not None:
                raise ValueError(f"{PREFIX}{name.upper()} and its _FILE are both given")
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as err:
                raise ValueError(
                    f"{PREFIX}{name.upper()}_FILE: {path} cannot be read: {err.strerror}"
                ) from err
        return found

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Refuse production without its database; who keeps keys asks for `kek`."""
        if self.profile == "production":
            if self.database_url is None:
                raise ValueError(
                    f"{PREFIX}DATABASE_URL or {PREFIX}DATABASE_URL_FILE is needed "
                    "in the production profile"
                )
            if self.recovery_seconds < RECOVERY_MINIMUM:
                raise ValueError(
                    f"{PREFIX}RECOVERY_SECONDS is {RECOVERY_MINIMUM} at least "
                    "in the production profile"
                )
        return self

    @property
    def url(self) -> str | None:
        """The database URL in clear."""
        return None if self.database_url is None else self.database_url.get_secret_value()

    @property
    def primary(self) -> str | None:
        """The URL of a standby's primary in clear."""
        return None if self.primary_url is None else self.primary_url.get_secret_value()

    @property
    def kek(self) -> bytes | None:
        """The key-encryption key, 32 bytes; raise BadInput where production goes without."""
        if self.keyring_key is not None:
            return decode_key(self.keyring_key.get_secret_value())
        if self.profile == "production":
            raise BadInput(
                f"{PREFIX}KEYRING_KEY or {PREFIX}KEYRING_KEY_FILE is needed "
                "in the production profile"
            )
        return None


def decode_key(text: str) -> bytes:
    """Read a keyring key: 32 bytes in base64url, with or without padding."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != KEK_BYTES:
        raise ValueError(f"it is not {KEK_BYTES} bytes in base64url")
    return raw
