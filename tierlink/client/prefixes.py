"""Operations on prefixes: who holds them, with which keys, and the API keys of their holders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.claims import without_empty
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    sign_possession,
)
from schemas.errors import PrefixNotFound, VerifyError
from schemas.identifier import Prefix
from schemas.keys import KeyId, Signer

from .call import Steps, as_prefix, query, read, same_prefix, segment, write
from .context import Context
from .reading import Page

ALL_USES = frozenset({RECORD_USE, DELEGATE_USE, ROTATE_USE})


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that a holder brings: it stays here, and proves itself by signing a challenge."""

    signer: Signer
    uses: frozenset[str] = ALL_USES


@dataclass(frozen=True, slots=True)
class ProvedKey:
    """A key that proved itself elsewhere: its offer, as the API takes it, with its possession."""

    delegated: DelegatedKey
    possession: str


Key: TypeAlias = "NewKey | ProvedKey"


@dataclass(frozen=True, slots=True)
class PrefixView:
    """Who holds a prefix. `delegation` is the signed statement of it, the rest its plain form.

    `api_key` is there in the reply to `allocate` alone: the registry shows it once.
    """

    prefix: str
    parent: str | None
    organisation: str
    status: str
    sequence: int
    delegation: str
    hosted: bool
    kids: tuple[str, ...]
    document: JsonObject = field(repr=False)
    api_key: str | None = field(default=None, repr=False)

    @property
    def recovery(self) -> str | None:
        """The delegation of a recovery that waits, None where none does."""
        found = self._recovery.get("delegation")
        return found if isinstance(found, str) else None

    @property
    def recovered_at(self) -> str | None:
        """When that recovery may come into force, RFC 3339."""
        found = self._recovery.get("effective_at")
        return found if isinstance(found, str) else None

    @property
    def _recovery(self) -> JsonObject:
        found = self.document.get("recovery")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; its text is shown once, to whoever makes it."""

    key_id: str
    prefix: str
    label: str
    api_key: str = field(repr=False)


def allocate(
    context: Context,
    given: Prefix | str,
    organisation: str,
    *,
    uscc: str | None = None,
    lei: str | None = None,
    keys: Sequence[Key] = (),
    issuer: Signer | Sequence[Signer] | None = None,
    node: str | None = None,
    next_keys: Sequence[str] = (),
    thresholds: Mapping[str, int] | None = None,
    key: str | None = None,
) -> Steps[PrefixView]:
    """Allocate a prefix below the caller's, in three steps.

    1. each new key proves itself: a challenge, signed; 2. the delegation: signed by `issuer` (one
    or, where the parent asks for several, each), or by the registry where the parent's key is
    hosted; 3. the request. Without keys the registry makes and hosts one.
    """
    prefix = as_prefix(given)
    named = {"name": organisation, "uscc": uscc, "lei": lei}
    org = {name: value for name, value in named.items() if value}
    # 1
    offered = yield from offers(context, prefix, keys)
    body: dict[str, object] = {"prefix": str(prefix), "organisation": org}
    if node:
        body["node"] = node
    if offered:
        body["keys"] = offered
    # 2
    issuers = as_signers(issuer)
    if not issuers:
        body |= without_empty({"next": list(next_keys), "thr": dict(thresholds or {})})
    else:
        above = yield from _nearest(prefix.parent)
        body["delegation"] = Delegation(
            prefix,
            Prefix.parse(above.prefix),
            1,
            context.seconds,
            tuple(delegated(item) for item in keys),
            organisation=org,
            node=node or "",
            next_keys=tuple(KeyId(kid) for kid in next_keys),
            thresholds=dict(thresholds or {}),
        ).sign(*issuers)
    # 3
    reply = yield write("POST", "/v1/prefixes", body, key=key or context.key())
    made = view(reply.document(), prefix)
    if made.api_key is None:
        raise VerifyError("E_FORMAT", f"the reply has no API key of {prefix}", value=str(prefix))
    return made


def as_signers(given: Signer | Sequence[Signer] | None) -> tuple[Signer, ...]:
    """Accept one signer, several or none."""
    if given is None:
        return ()
    return tuple(given) if isinstance(given, Sequence) else (given,)


def _nearest(prefix: Prefix) -> Steps[PrefixView]:
    """Show the nearest prefix at or above that is allocated; the root always is."""
    while True:
        try:
            return (yield from show(prefix))
        except PrefixNotFound:
            if prefix.is_root:
                raise
            prefix = prefix.parent


def offers(
    context: Context, prefix: Prefix, keys: Iterable[Key], proved: Collection[str] = ()
) -> Steps[list[JsonObject]]:
    """Return keys as the API takes them, each with its possession unless it is `proved`."""
    offered: list[JsonObject] = []
    for item in keys:
        key = delegated(item)
        claims = cast("JsonObject", key.claims())
        del claims["kid"]
        if isinstance(item, ProvedKey):
            claims["possession"] = item.possession
        elif key.key.kid not in proved:
            nonce = yield from challenge(context, prefix, key.key.kid)
            claims["possession"] = sign_possession(item.signer, prefix, nonce, context.seconds)
        offered.append(claims)
    return offered


def delegated(item: Key) -> DelegatedKey:
    """Return a key as a delegation names it."""
    if isinstance(item, ProvedKey):
        return item.delegated
    return DelegatedKey(item.signer.public, item.uses)


def challenge(context: Context, given: Prefix | str, kid: str) -> Steps[str]:
    """Return a nonce for a key that is to be registered under a prefix."""
    body = {"prefix": str(as_prefix(given)), "kid": kid}
    reply = yield write("POST", "/v1/challenges", body, key=context.key())
    nonce = reply.document().get("nonce")
    if not isinstance(nonce, str) or not nonce:
        raise VerifyError("E_FORMAT", "the challenge has no nonce")
    return nonce


def show(given: Prefix | str) -> Steps[PrefixView]:
    """Return who holds a prefix."""
    prefix = as_prefix(given)
    reply = yield read(f"/v1/prefixes/{segment(prefix)}")
    return view(reply.document(), prefix)


def switch(context: Context, given: Prefix | str, verb: str) -> Steps[PrefixView]:
    """Suspend or resume a prefix and everything below it."""
    prefix = as_prefix(given)
    reply = yield write("POST", f"/v1/prefixes/{segment(prefix)}/{verb}", key=context.key())
    return view(reply.document(), prefix)


def listing(
    parent: Prefix | str | None, cursor: str | None, limit: int | None
) -> Steps[Page[PrefixView]]:
    """Return a page of prefixes, all of them or those right below a parent."""
    reply = yield read(f"/v1/prefixes{query(parent=parent, cursor=cursor, limit=limit)}")
    document = reply.document()
    found, following = document.get("prefixes"), document.get("next")
    if not isinstance(found, list):
        raise VerifyError("E_FORMAT", "the reply has no array named prefixes")
    items = tuple(view(cast("JsonObject", item)) for item in found)
    return Page(items, following if isinstance(following, str) else None)


def make_api_key(context: Context, given: Prefix | str, label: str) -> Steps[ApiKey]:
    """Make another API key for the caller's prefix."""
    prefix = as_prefix(given)
    target = f"/v1/prefixes/{segment(prefix)}/api-keys"
    reply = yield write("POST", target, {"label": label}, key=context.key())
    document = reply.document()
    same_prefix(document, prefix)
    return ApiKey(
        str(document.get("id")),
        str(prefix),
        str(document.get("label") or ""),
        str(document.get("api_key")),
    )


def view(document: JsonObject, asked: Prefix | None = None) -> PrefixView:
    """Read a view; raise VerifyError where its delegation is of another prefix."""
    if asked is not None:
        same_prefix(document, asked)
    prefix, parent = document.get("prefix"), document.get("parent")
    token, sequence = document.get("delegation"), document.get("sequence")
    organisation, keys = document.get("organisation"), document.get("keys")
    if not isinstance(prefix, str) or not isinstance(token, str) or type(sequence) is not int:
        raise VerifyError("E_FORMAT", "the reply is no view of a prefix", value=prefix)
    name = organisation.get("name") if isinstance(organisation, dict) else ""
    listed = keys if isinstance(keys, list) else []
    api_key = document.get("api_key")
    shown = {k: v for k, v in document.items() if k != "api_key"}
    return PrefixView(
        prefix,
        parent if isinstance(parent, str) else None,
        str(name or ""),
        str(document.get("status")),
        sequence,
        token,
        document.get("hosted") is True,
        tuple(str(item.get("kid")) for item in listed if isinstance(item, dict)),
        shown,
        api_key if isinstance(api_key, str) else None,
    )
