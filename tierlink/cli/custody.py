"""`tierlink delegate`, `rotate`, `revoke`, `recover`: the keys of a prefix, exchanged and lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from . import prefixes
from .options import KEY, As, Issuers, Json, NextKeys, Thresholds, Url, read_thresholds
from .prefixes import Prefix
from .session import Session

if TYPE_CHECKING:
    from tierlink.client import Exchange, NewKey

Keys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--key", metavar=KEY, help="New key for records, delegations and rotations."),
]
RecordKeys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--record-key", metavar=KEY, help="New key for records and delegations alone."),
]
RotateKeys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--rotate-key", metavar=KEY, help="New key for rotations alone."),
]
Signers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--sign",
        metavar=KEY,
        help="Rotate key that stands, to sign with; without, the registry signs.",
    ),
]


def delegate(
    prefix: Prefix,
    *,
    key: Keys = None,
    record_key: RecordKeys = None,
    rotate_key: RotateKeys = None,
    following: NextKeys = None,
    threshold: Thresholds = None,
    issuer: Issuers = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Delegate a prefix anew, as its parent; without keys of the holder, one is hosted.

    A holder who committed to its next keys keeps its say: see `tierlink recover`.
    """
    session = Session(url, speaker)
    new = new_keys(session, key, record_key, rotate_key)
    with session.allocator() as client:
        view = client.delegate(
            prefix,
            new,
            issuer=session.open_keys(issuer),
            next_keys=[session.kid(name) for name in following or ()],
            thresholds=read_thresholds(threshold),
        )
    prefixes.tell(view, as_json=as_json)


def rotate(
    prefix: Prefix,
    *,
    sign: Signers = None,
    key: Keys = None,
    record_key: RecordKeys = None,
    rotate_key: RotateKeys = None,
    following: NextKeys = None,
    threshold: Thresholds = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Exchange the keys of a prefix, as its holder.

    Hosted keys are exchanged by the registry. Own ones are signed for with --sign; a new rotate
    key must be one that the delegation so far commits to, and signs too. Keys that are replaced
    end in five minutes, and what they signed stays valid.
    """
    session = Session(url, speaker)
    keys = new_keys(session, key, record_key, rotate_key)
    exchange = read_exchange(session, keys, following, threshold)
    with session.holder() as client:
        view = client.rotate(prefix, exchange, signer=session.signers(sign))
    prefixes.tell(view, as_json=as_json)


def revoke(
    prefix: Prefix,
    kid: Annotated[str, typer.Argument(metavar="KEY|KID", help="The key that is revoked.")],
    *,
    reason: Annotated[
        str, typer.Option(help="compromised, superseded or unspecified.")
    ] = "unspecified",
    since: Annotated[
        int | None,
        typer.Option(
            help="First entry of the log that the key speaks for no more.", show_default="now"
        ),
    ] = None,
    sign: Annotated[
        list[str] | None,
        typer.Option(
            "--sign",
            metavar=KEY,
            help="Rotate key of the holder, or delegate key of the parent; without, the registry "
            "signs.",
        ),
    ] = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Revoke a key of a prefix, as its holder or its parent; hosted keys are exchanged with it."""
    from schemas.delegation import REASONS

    if reason not in REASONS:
        raise typer.BadParameter(
            f"{reason} is not one of {', '.join(sorted(REASONS))}", param_hint="--reason"
        )
    session = Session(url, speaker)
    with session.allocator() as client:
        view = client.revoke(
            prefix, session.kid(kid), reason=reason, since=since, signer=session.signers(sign)
        )
    prefixes.tell(view, as_json=as_json)


def recover(
    prefix: Prefix,
    *,
    complete: Annotated[
        bool, typer.Option("--complete", help="Put an announced recovery in force.")
    ] = False,
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Give it up; as its holder object, with --sign."),
    ] = False,
    key: Keys = None,
    record_key: RecordKeys = None,
    rotate_key: RotateKeys = None,
    following: NextKeys = None,
    threshold: Thresholds = None,
    issuer: Issuers = None,
    sign: Signers = None,
    wait: Annotated[
        int | None,
        typer.Option(help="Seconds that the registry waits, for --issuer.", show_default="7 days"),
    ] = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Give a prefix whose holder lost its keys to other ones, as its parent, after a time."""
    from tierlink.client.custody import WAIT_SECONDS

    if complete and cancel:
        raise typer.BadParameter("--complete and --cancel exclude each other")
    session = Session(url, speaker)
    with session.allocator() as client:
        if complete:
            view = client.complete_recovery(prefix)
        elif cancel:
            view = client.cancel_recovery(prefix, signer=session.signers(sign))
        else:
            keys = new_keys(session, key, record_key, rotate_key)
            exchange = read_exchange(session, keys, following, threshold)
            view = client.recover(
                prefix,
                exchange,
                issuer=session.open_keys(issuer),
                wait=WAIT_SECONDS if wait is None else wait,
            )
    prefixes.tell(view, as_json=as_json)


def new_keys(
    session: Session,
    every: list[str] | None,
    record: list[str] | None,
    rotate_keys: list[str] | None,
) -> list[NewKey]:
    """Open the keys that are to come, each with its uses."""
    from schemas.delegation import DELEGATE_USE, RECORD_USE, ROTATE_USE
    from tierlink.client import NewKey

    records = frozenset({RECORD_USE, DELEGATE_USE})
    groups = (
        (every, records | {ROTATE_USE}),
        (record, records),
        (rotate_keys, frozenset({ROTATE_USE})),
    )
    return [NewKey(session.open_key(name), uses) for names, uses in groups for name in names or ()]


def read_exchange(
    session: Session,
    keys: list[NewKey],
    following: list[str] | None,
    threshold: list[str] | None,
) -> Exchange:
    """Read which keys come and which may come next."""
    from tierlink.client import Exchange

    next_keys = None if following is None else [session.kid(name) for name in following]
    return Exchange(keys, next_keys, read_thresholds(threshold))
