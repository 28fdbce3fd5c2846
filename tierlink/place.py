"""Settings of a node's place among others: what it is, whose prefix it takes up, whom it asks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.identifier import Prefix

ROOT, SECONDARY, ENTERPRISE, RECURSIVE = "root", "secondary", "enterprise", "recursive"
JOINING = frozenset({SECONDARY, ENTERPRISE})

_URL = r"^(https?://[^\s?#]+[^\s?#/])?$"


class PlaceSettings(BaseSettings):
    """Where a node stands in the tree of nodes, read from TIERLINK_… variables.

    A root node founds or hosts the root. Secondary and enterprise nodes hold a prefix below another
    node's, and join that node at their first start. A recursive node holds nothing.
    """

    model_config = SettingsConfigDict(env_prefix="TIERLINK_", extra="ignore", frozen=True)

    role: Literal["root", "secondary", "enterprise", "recursive"] = Field(
        default="root", description="what this node is; all but root need TIERLINK_ROOT_FILE"
    )
    prefix: str | None = Field(
        None,
        description="of a secondary or enterprise node: the prefix that it takes up; of a root "
        "node: one whose hosted key it speaks to other nodes by",
    )
    organisation: str = Field(
        "", max_length=256, description="the name of who holds that prefix, its digits where empty"
    )
    parent_url: str = Field(
        "", pattern=_URL, description="base URL of the node that serves the prefix above"
    )
    parent_key: SecretStr | None = Field(
        None, description="an API key of the prefix above; needed once, to join"
    )
    parent_key_file: Path | None = Field(None, description="a file that holds that API key")
    root_url: str = Field(
        "",
        pattern=_URL,
        description="base URL of the node that serves the root, to be asked where nothing nearer "
        "is known; empty on that node itself",
    )
    ttl: int = Field(
        30,
        ge=0,
        le=86_400,
        description="seconds for which other nodes may keep what this one answered them",
    )
    peers_private: bool = Field(
        default=False,
        description="1 lets delegations name nodes at private and loopback addresses: for a "
        "network of one's own; link-local ones, and those of a cloud's own services, never are",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, values: dict[str, object]) -> dict[str, object]:
        path = values.get("parent_key_file")
        if path is None or values.get("parent_key") is not None:
            return values
        try:
            return {**values, "parent_key": Path(str(path)).read_text(encoding="utf-8").strip()}
        except FileNotFoundError:
            return values  # needed once, to join: a file that need not be kept
        except OSError as err:
            raise ValueError(f"TIERLINK_PARENT_KEY_FILE cannot be read: {err.strerror}") from err

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.role in JOINING:
            for name in ("prefix", "parent_url", "root_url"):
                if not getattr(self, name):
                    raise ValueError(
                        f"TIERLINK_{name.upper()} is needed by a node of role {self.role}"
                    )
            Prefix.parse(self.prefix or "")
        if self.role == RECURSIVE and not self.root_url:
            raise ValueError("TIERLINK_ROOT_URL is needed by a recursive node")
        return self

    @property
    def joins(self) -> Prefix | None:
        """The prefix that this node takes up, None where it joins no other."""
        return Prefix.parse(self.prefix) if self.role in JOINING and self.prefix else None

    @property
    def speaks(self) -> Prefix | None:
        """The prefix that this node speaks to others by, None where any that it hosts will do."""
        return Prefix.parse(self.prefix) if self.prefix else None

    @property
    def given_key(self) -> str | None:
        """The API key with which to join, where one is given; needed until that is done."""
        return None if self.parent_key is None else self.parent_key.get_secret_value()
