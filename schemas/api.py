"""Bodies of the HTTP API for prefixes and accounts, and the problem document.

Records, links and envelopes are not here: they are read by the strict readers of their own
modules, because what is signed must never come from a model's dump.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

Time = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1, examples=[1893456000])]
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Uscc = Annotated[str, StringConstraints(pattern=r"^[0-9A-HJ-NPQRTUWXY]{18}$")]
Lei = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{18}[0-9]{2}$")]
Kid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{43}$")]
Use = Literal["record", "delegate", "status", "rotate"]
CountedUse = Literal["record", "delegate", "rotate"]
Reason = Literal["unspecified", "compromised", "superseded"]

_KID = "Y1nKzVnWjHZ_BLn2XgYDIPNvWxwOwRY8K1ZWU0gqVtA"
_JWK: dict[str, JsonValue] = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
_JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJ2IjoxLCJ….c2lnbmF0dXJl…"
_ORGANISATION: dict[str, JsonValue] = {"name": "华东电池材料有限公司", "uscc": "91310000MA1FL0B47X"}


def _absent(value: object) -> bool:
    return value is None


def _empty(value: object) -> bool:
    return not value


class _Body(BaseModel):
    """A request: what is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _View(BaseModel):
    """An answer: clients ignore what they do not know."""

    model_config = ConfigDict(frozen=True)


class Organisation(_Body):
    """Who holds a prefix."""

    name: Line
    uscc: Uscc | None = Field(
        None, exclude_if=_absent, description="unified social credit code (统一社会信用代码)"
    )
    lei: Lei | None = Field(
        None, exclude_if=_absent, description="legal entity identifier, ISO 17442"
    )


class OfferedKey(_Body):
    """A public key of the holder, with the proof that he has the private one."""

    jwk: dict[str, str]
    use: Annotated[list[Use], Field(min_length=1, max_length=4)]
    nbf: Time | None = None
    exp: Time | None = None
    possession: str | None = Field(
        None, description="signed challenge; not needed for a key that is delegated already"
    )


class _Holding(_Body):
    """What a delegation is to say of its holder's keys: sent along signed, or written here."""

    keys: Annotated[list[OfferedKey], Field(max_length=16)] = Field(
        default_factory=list, description="without any, the registry makes and hosts one"
    )
    next: Annotated[list[Kid], Field(max_length=16)] = Field(
        default_factory=list,
        description="thumbprints of the rotate keys that may come next; a hosted holder commits to "
        "a hosted one without",
    )
    thr: dict[CountedUse, Annotated[int, Field(strict=True, ge=1, le=8)]] = Field(
        default_factory=dict, description="how many distinct keys have to sign for a use"
    )
    delegation: str | None = Field(
        None,
        description="signed by whoever may, where the registry does not host that key; next and "
        "thr then stand in it and not here",
    )


class NewPrefix(_Holding):
    """Allocate a prefix below the caller's own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prefix": "88.118.8", "organisation": _ORGANISATION},
                {
                    "prefix": "88.118.9",
                    "organisation": _ORGANISATION,
                    "keys": [{"jwk": _JWK, "use": ["record", "delegate"], "possession": _JWS}],
                },
            ]
        }
    )

    prefix: str
    organisation: Organisation
    node: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="base URL of the node that serves the prefix, if it is another"
    )


class NewDelegation(_Holding):
    """Delegate a prefix anew, with other keys, by its parent; also a recovery."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"keys": [{"jwk": _JWK, "use": ["record"], "possession": _JWS}]},
                {"keys": []},
            ]
        }
    )


class NewRotation(_Holding):
    """Exchange one's own keys. A new rotate key signs too: it needs no other proof."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {},
                {"next": [_KID]},
                {
                    "keys": [
                        {"jwk": _JWK, "use": ["rotate"]},
                        {"jwk": _JWK, "use": ["record"], "possession": _JWS},
                    ],
                    "delegation": _JWS,
                },
            ]
        }
    )


class NewRevocation(_Holding):
    """Revoke a key from a place in the log on; hosted keys are exchanged with it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kid": _KID, "reason": "compromised", "since": 48213}]}
    )

    kid: Kid
    reason: Reason = "unspecified"
    since: Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)] | None = Field(
        None, description="the first leaf index that the key speaks for no more; now, where absent"
    )


class Objection(_Body):
    """A holder's word that a recovery is not wanted; the parent needs none to give it up."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"objection": _JWS}, {}]})

    objection: str | None = Field(
        None, description="signed by the rotate threshold of the delegation that stands"
    )


class NewRoot(_Body):
    """The next root version, signed by the rotate thresholds of the old one and of itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"root": _JWS}, {}]})

    root: str | None = Field(
        None, description="a hosted key of the old one signs too; absent: a new hosted key"
    )


class NewChallenge(_Body):
    """Ask for a nonce that a key is to sign."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prefix": "88.118.9", "kid": _KID}]})

    prefix: str
    kid: Kid


class NewApiKey(_Body):
    """Make an API key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"label": "line 3, Suzhou", "expires_at": "2030-01-01T00:00:00Z"}]
        }
    )

    label: Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    expires_at: AwareDatetime | None = None


class KeyView(_View):
    """A key of a delegation."""

    kid: str
    jwk: dict[str, str]
    use: list[str]
    nbf: int | None = Field(None, exclude_if=_absent)
    exp: int | None = Field(None, exclude_if=_absent)


class RecoveryView(_View):
    """A delegation by which the parent takes a prefix back, waiting for its time."""

    sequence: int
    effective_at: str
    delegation: str


class PrefixView(_View):
    """A prefix and who holds it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prefix": "88.118.8",
                    "parent": "88.118",
                    "organisation": _ORGANISATION,
                    "status": "active",
                    "sequence": 1,
                    "delegation": _JWS,
                    "keys": [{"kid": _KID, "jwk": _JWK, "use": ["delegate", "record", "rotate"]}],
                    "hosted": True,
                }
            ]
        }
    )

    prefix: str
    parent: str | None
    organisation: Organisation
    status: Literal["active", "suspended"]
    sequence: int
    delegation: str
    keys: list[KeyView]
    hosted: bool
    run: list[str] = Field(
        default_factory=list,
        exclude_if=_empty,
        description="what `delegation` rests on where the holder exchanged its keys since the "
        "parent's last delegation: that one first, then the holder's own",
    )
    recovery: RecoveryView | None = Field(
        None, exclude_if=_absent, description="a recovery that was announced"
    )


class PrefixCreated(PrefixView):
    """A prefix that was just allocated; the API key is shown this once."""

    api_key: str


class PrefixPage(_View):
    """Prefixes in byte order; `next` is the cursor of the page that follows."""

    prefixes: list[PrefixView]
    next: str | None


class ChallengeView(_View):
    """A nonce to be signed within the time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "nonce": "u0iJb0YQ3p1n2VJ5x1m3aGq0c1o2r3S4",
                    "expires_at": "2026-01-01T00:10:00Z",
                }
            ]
        }
    )

    nonce: str
    expires_at: str


class ApiKeyView(_View):
    """An API key without its secret."""

    id: str
    prefix: str
    label: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class ApiKeyCreated(_View):
    """An API key that was just made; its text is shown this once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "4fQ7aZ2k",
                    "prefix": "88.118.8",
                    "label": "line 3, Suzhou",
                    "expires_at": "2030-01-01T00:00:00Z",
                    "api_key": "tierlink_live_4fQ7aZ2k_…",
                }
            ]
        }
    )

    id: str
    prefix: str
    label: str
    expires_at: str | None
    api_key: str


class ApiKeyList(_View):
    """The API keys of a prefix, oldest first."""

    api_keys: list[ApiKeyView]


class LogView(_View):
    """The log of a node: its name, and the key of its checkpoints (C2SP signed-note)."""

    origin: str
    vkey: str


class TrustView(_View):
    """What a verifier holds: the root versions, the delegations known here, whose log counts."""

    v: Literal[1]
    roots: list[str]
    delegations: list[str]
    log: LogView | None = None
    witnesses: list[str] = Field([], description="verification keys of the log's witnesses")
    quorum: int = Field(0, description="how many of them must have cosigned a checkpoint")
    max_age: int | None = Field(None, description="seconds that a checkpoint is current")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "title": "Invalid identifier",
                    "status": 400,
                    "code": "identifier_invalid",
                    "detail": "U+0041 'A' at position 3 may not stand in a prefix label",
                    "value": "88.A",
                    "position": 3,
                    "fix": "write the prefix in lower case",
                }
            ]
        },
    )

    title: str
    status: int
    code: str = Field(description="stable: what programs should look at")
    detail: str | None = None
    value: Any = Field(None, description="what was refused")
    position: int | None = Field(None, description="0-based offset of the first bad character")
    fix: str | None = Field(None, description="what to do instead")
