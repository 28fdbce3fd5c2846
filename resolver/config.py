"""Settings of the resolver role, read from TIERLINK_… variables."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ResolverSettings(BaseSettings):
    """What an operator may turn; every default is good for one machine."""

    model_config = SettingsConfigDict(env_prefix="TIERLINK_", frozen=True, extra="ignore")

    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s?#]+[^\s?#/])?$",
        description="where the public reaches this node, such as https://id.example.com; "
        "goes into QR codes and linkset anchors, empty leaves them out or relative",
    )
    lease: float = Field(
        default=0.6,
        gt=0,
        le=60,
        description="seconds for which one poll of the changes lets cached answers be served; "
        "the largest term of the staleness bound",
    )
    poll_period: float = Field(
        default=0.15, gt=0, le=20, description="seconds between two polls of the changes"
    )
    fetch_timeout: float = Field(
        default=2.0, gt=0, le=60, description="seconds that a request waits for the source"
    )
    stale_if_error: int = Field(
        default=86_400,
        ge=0,
        le=604_800,
        description="seconds for which a known answer may be served, marked as stale, "
        "while the source is away; 0 never does",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://…, sentinel://h1,h2/name or cluster://h1,h2: a second cache that "
        "resolvers share; needs a cache key",
    )
    redis_timeout: float = Field(
        0.03, gt=0, le=1, description="seconds that a request waits for the second cache"
    )
    cache_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="secret of the resolvers that share a second cache, 32 characters or more: "
        "what they write there is sealed with it",
    )
    cache_key_file: Path | None = Field(None, description="a file that holds the cache key")
    cache_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="memory for finished answers in one process, in bytes",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, values: dict[str, object]) -> dict[str, object]:
        path = values.get("cache_key_file")
        if path is None:
            return values
        if values.get("cache_key") is not None:
            raise ValueError("TIERLINK_CACHE_KEY and its _FILE are both given")
        try:
            return {**values, "cache_key": Path(str(path)).read_text(encoding="utf-8").strip()}
        except OSError as err:
            raise ValueError(f"TIERLINK_CACHE_KEY_FILE cannot be read: {err.strerror}") from err

    @model_validator(mode="after")
    def _sealed(self) -> Self:
        if self.redis_url is not None and self.cache_key is None:
            raise ValueError(
                "TIERLINK_REDIS_URL needs TIERLINK_CACHE_KEY: whoever writes to an unsealed cache "
                "could make this resolver say anything"
            )
        return self

    @model_validator(mode="after")
    def _two_polls_may_fail(self) -> Self:
        if self.lease < 3 * self.poll_period:
            raise ValueError(
                f"TIERLINK_LEASE is {self.lease} s and has to be at least three times "
                f"TIERLINK_POLL_PERIOD ({self.poll_period} s), so that two polls may fail"
            )
        return self
