"""Operations on prefixes: who holds them, with which keys, and the API keys of their holders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.delegation import (
    DELEGATE_USE,
    RECORD_USE,
    ROTATE_USE,
    DelegatedKey,
    Delegation,
    parse_delegation,
    sign_possession,
)
from schemas.envelope import digest
from schemas.errors import PrefixNotFound, VerifyError
from schemas.identifier import Prefix
from schemas.keys import Signer

from .call import Steps, as_prefix, query, read, same_prefix, write
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
    issuer: Signer | None = None,
    node: str | None = None,
    key: str | None = None,
) -> Steps[PrefixView]:
    """Allocate a prefix below the caller's, in three steps.

    1. each new key proves itself: a challenge, signed; 2. the delegation: signed by `issuer`, or
    by the registry where the parent's key is hosted; 3. the request. Without keys the registry
    makes and hosts one.
    """
    prefix = as_prefix(given)
    named = {"name": organisation, "uscc": uscc, "lei": lei}
    org = {name: value for name, value in named.items() if value}
    # 1
    offers = yield from _offers(context, prefix, keys)
    body: dict[str, object] = {"prefix": str(prefix), "organisation": org}
    if node:
        body["node"] = node
    if offers:
        body["keys"] = offers
    # 2
    if issuer is not None:
        above = yield from _nearest(prefix.parent)
        body["delegation"] = Delegation(
            prefix,
            Prefix.parse(above.prefix),
            1,
            context.seconds,
            tuple(_delegated(item) for item in keys),
            organisation=org,
            node=node or "",
        ).sign(issuer)
    # 3
    reply = yield write("POST", "/v1/prefixes", body, key=key or context.key())
    view = _view(reply.document(), prefix)
    if view.api_key is None:
        raise VerifyError("E_FORMAT", f"the reply has no API key of {prefix}", value=str(prefix))
    return view


def _nearest(prefix: Prefix) -> Steps[PrefixView]:
    """Show the nearest prefix at or above that is allocated; the root always is."""
    while True:
        try:
            return (yield from show(prefix))
        except PrefixNotFound:
            if prefix.is_root:
                raise
            prefix = prefix.parent


def _offers(context: Context, prefix: Prefix, keys: Iterable[Key]) -> Steps[list[JsonObject]]:
    offers: list[JsonObject] = []
    for item in keys:
        if isinstance(item, ProvedKey):
            possession = item.possession
        else:
            nonce = yield from challenge(context, prefix, item.signer.public.kid)
            possession = sign_possession(item.signer, prefix, nonce, context.seconds)
        claims = cast("JsonObject", _delegated(item).claims())
        del claims["kid"]
        offers.append({**claims, "possession": possession})
    return offers


def _delegated(item: Key) -> DelegatedKey:
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


def delegate(
    context: Context, given: Prefix | str, keys: Sequence[Key], issuer: Signer | None
) -> Steps[PrefixView]:
    """Delegate a prefix anew with other keys, signed by `issuer` or the parent's hosted key."""
    prefix = as_prefix(given)
    offers = yield from _offers(context, prefix, keys)
    body: dict[str, object] = {"keys": offers}
    if issuer is not None:
        current = yield from show(prefix)
        delegation = parse_delegation(current.delegation)[1]
        body["delegation"] = Delegation(
            prefix,
            delegation.parent,
            delegation.sequence + 1,
            context.seconds,
            tuple(_delegated(item) for item in keys),
            prev=digest(current.delegation),
            organisation=delegation.organisation,
            node=delegation.node,
        ).sign(issuer)
    reply = yield write(
        "PUT", f"/v1/prefixes/{_segment(prefix)}/delegation", body, key=context.key()
    )
    return _view(reply.document(), prefix)


def show(given: Prefix | str) -> Steps[PrefixView]:
    """Return who holds a prefix."""
    prefix = as_prefix(given)
    reply = yield read(f"/v1/prefixes/{_segment(prefix)}")
    return _view(reply.document(), prefix)


def switch(context: Context, given: Prefix | str, verb: str) -> Steps[PrefixView]:
    """Suspend or resume a prefix and everything below it."""
    prefix = as_prefix(given)
    reply = yield write("POST", f"/v1/prefixes/{_segment(prefix)}/{verb}", key=context.key())
    return _view(reply.document(), prefix)


def listing(
    parent: Prefix | str | None, cursor: str | None, limit: int | None
) -> Steps[Page[PrefixView]]:
    """Return a page of prefixes, all of them or those right below a parent."""
    reply = yield read(f"/v1/prefixes{query(parent=parent, cursor=cursor, limit=limit)}")
    document = reply.document()
    found, following = document.get("prefixes"), document.get("next")
    if not isinstance(found, list):
        raise VerifyError("E_FORMAT", "the reply has no array named prefixes")
    items = tuple(_view(cast("JsonObject", item)) for item in found)
    return Page(items, following if isinstance(following, str) else None)


def make_api_key(context: Context, given: Prefix | str, label: str) -> Steps[ApiKey]:
    """Make another API key for the caller's prefix."""
    prefix = as_prefix(given)
    target = f"/v1/prefixes/{_segment(prefix)}/api-keys"
    reply = yield write("POST", target, {"label": label}, key=context.key())
    document = reply.document()
    same_prefix(document, prefix)
    return ApiKey(
        str(document.get("id")),
        str(prefix),
        str(document.get("label") or ""),
        str(document.get("api_key")),
    )


def _segment(prefix: Prefix) -> str:
    return "root" if prefix.is_root else str(prefix)  # a segment "." would be removed on the way


def _view(document: JsonObject, asked: Prefix | None = None) -> PrefixView:
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
