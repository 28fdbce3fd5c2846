"""Settings of a witness: TIERLINK_WITNESS_…, and the host and port to listen on."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WitnessSettings(BaseSettings):
    """What `tierlink witness` reads from the environment."""

    model_config = SettingsConfigDict(env_prefix="TIERLINK_", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", min_length=1, description="address or name to listen on")
    port: int = Field(
        default=8089, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    witness_name: str = Field(
        min_length=1, max_length=200, description="name in its cosignatures, such as its host name"
    )
    witness_dir: Path = Field(
        default=Path(".tierlink-witness"),
        description="folder of its key and of the checkpoints it holds",
    )
    witness_key: Path | None = Field(
        default=None,
        description="key file, made on the first start; witness.pem in the folder if not set",
    )
    witness_logs: str = Field(
        default="", description="verification keys of the logs it follows, separated by commas"
    )
    witness_logs_file: Path | None = Field(
        default=None, description="a file of such keys, one a line, read again when it changes"
    )
    witness_vkey_file: Path | None = Field(
        default=None, description="a file to write its own verification key into, for the logs"
    )

    @property
    def key_file(self) -> Path:
        """The key file."""
        return self.witness_key or self.witness_dir / "witness.pem"

    @property
    def vkeys(self) -> list[str]:
        """The keys of the setting, one by one."""
        return re.split(r"[,\s]+", self.witness_logs)
