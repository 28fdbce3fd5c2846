"""`tierlink root …`: the root's versions, made and signed where its keys are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from . import display
from .options import KEY, As, Json, Thresholds, Url, read_thresholds
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.delegation import DelegatedKey, Delegation
    from schemas.keys import Signer

root = typer.Typer(
    help="Make, sign and exchange the root that everybody's trust hangs on.", no_args_is_help=True
)

KEYS = "KEY|JSON"
File: TypeAlias = Annotated[Path, typer.Argument(help="File of root versions, one a line.")]
RotateKeys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--rotate-key",
        metavar=KEYS,
        help="Key that signs root versions; of other custodians, the JSON of keygen.",
    ),
]
DelegateKeys: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--delegate-key", metavar=KEYS, help="Key that delegates, such as a registry's."),
]
Days: TypeAlias = Annotated[
    int | None,
    typer.Option("--days", min=1, help="How long the version is valid, if not for ever."),
]


@root.command("init")
def init(
    file: File,
    *,
    rotate_key: RotateKeys = None,
    delegate_key: DelegateKeys = None,
    threshold: Thresholds = None,
    days: Days = None,
    as_json: Json = False,
) -> None:
    """Make version 1 of a root whose keys stay with their custodians.

    Found a registry with it by TIERLINK_ROOT_FILE, and let that host a delegate key by
    TIERLINK_ROOT_KEY_FILE, or none.
    """
    from schemas.delegation import Delegation
    from schemas.identifier import Prefix
    from tierlink.rootfile import write_versions

    session = Session()
    names = rotate_key or ()
    keys = _keys(session, names, delegate_key or ())
    if not names:
        raise typer.BadParameter("a root has one rotate key at least", param_hint="--rotate-key")
    now = _now()
    made = Delegation(
        Prefix(()),
        None,
        1,
        now,
        keys,
        valid_until=_end(now, days),
        thresholds=read_thresholds(threshold) or {},
    )
    token = _sign(made, _private(session, names))
    write_versions(file, [token])
    _tell([token], file, as_json=as_json)


@root.command("rotate")
def rotate(
    *,
    sign: Annotated[
        list[str] | None,
        typer.Option("--sign", metavar=KEY, help="Rotate key of the version that stands."),
    ] = None,
    rotate_key: RotateKeys = None,
    delegate_key: DelegateKeys = None,
    threshold: Thresholds = None,
    days: Days = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="File of the root versions so far, instead of the node's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write it there for other custodians to sign; submit nothing."),
    ] = None,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Make the next version, signed by the thresholds of the old and the new one, and submit it.

    Keys of a kind that is not named stay. Delegate keys that are replaced end in five minutes, so
    that what they delegated stays delegated. Without any key a hosted root gets a new hosted key.
    """
    from tierlink.rootfile import read_versions, write_versions

    session = Session(url, speaker)
    if not (sign or rotate_key or delegate_key or out):
        with session.allocator() as client:
            client.rotate_root()
            versions = client.roots()
        _tell(versions, None, as_json=as_json)
        return
    if start is not None:
        versions = tuple(read_versions(start))
    else:
        with session.plain() as client:
            versions = client.roots()
    made = _following(session, versions, rotate_key, delegate_key, threshold)
    signers = [*session.open_keys(sign), *_private(session, rotate_key or ())]
    made = _until(made, days)
    token = _sign(made, signers)
    if out is not None:
        write_versions(out, [*versions, token])
    else:
        with session.allocator() as client:
            client.rotate_root(token)
            versions = client.roots()[:-1]
            token = client.roots()[-1]
    _tell([*versions, token], out, as_json=as_json)


@root.command("sign")
def sign(
    file: File,
    *,
    key: Annotated[list[str], typer.Option("--key", metavar=KEY, help="Key to sign with.")],
    submit: Annotated[
        bool, typer.Option("--submit", help="Then send the version to the node, as its operator.")
    ] = False,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """Add a custodian's signature to the last version of a file."""
    from schemas.envelope import cosign
    from tierlink.rootfile import read_versions, write_versions

    session = Session(url, speaker)
    *earlier, token = read_versions(file)
    for signer in session.open_keys(key):
        token = cosign(token, signer)
    write_versions(file, [*earlier, token], over=True)
    if submit:
        with session.allocator() as client:
            client.rotate_root(token)
    _tell([*earlier, token], file, as_json=as_json)


@root.command("show")
def show(
    file: Annotated[
        Path | None, typer.Argument(help="File of root versions; without, the node's.")
    ] = None,
    *,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show root versions, their keys, and whose signatures are missing."""
    from tierlink.rootfile import read_versions

    if file is not None:
        versions: Sequence[str] = read_versions(file)
    else:
        with Session(url).plain() as client:
            versions = client.roots()
    _tell(versions, file, as_json=as_json)


def _now() -> int:
    import time

    return int(time.time())


def _end(now: int, days: int | None) -> int | None:
    return None if days is None else now + days * 86_400


def _until(made: Delegation, days: int | None) -> Delegation:
    from dataclasses import replace

    return replace(made, valid_until=_end(made.issued_at, days))


def _keys(
    session: Session, rotate_keys: Iterable[str], delegate_keys: Iterable[str]
) -> tuple[DelegatedKey, ...]:
    """Read the keys of a root; one that is named for both has both uses."""
    from schemas.delegation import DELEGATE_USE, ROTATE_USE, DelegatedKey

    found: dict[str, DelegatedKey] = {}
    for names, use in ((rotate_keys, ROTATE_USE), (delegate_keys, DELEGATE_USE)):
        for name in names:
            public = session.public_key(name)
            had = found.get(public.kid)
            uses = frozenset({use}) | (had.uses if had else frozenset())
            found[public.kid] = DelegatedKey(public, uses)
    return tuple(found.values())


def _private(session: Session, names: Iterable[str]) -> list[Signer]:
    """Open those of some keys whose private half is here."""
    from tierlink.custody import in_token

    def is_public(name: str) -> bool:
        path = Path(name)
        return not in_token(name) and path.is_file() and path.read_bytes()[:1] == b"{"

    return [session.open_key(name) for name in names if not is_public(name)]


def _following(
    session: Session,
    versions: Sequence[str],
    rotate_keys: list[str] | None,
    delegate_keys: list[str] | None,
    threshold: list[str] | None,
) -> Delegation:
    from schemas.delegation import DELEGATE_USE, ROTATE_USE
    from schemas.root import anchor
    from schemas.successor import Keys, successor

    current = anchor(versions)
    new = _keys(session, rotate_keys or (), delegate_keys or ())
    names = {item.key.kid for item in new}
    replaced = {ROTATE_USE} if rotate_keys else set[str]()
    replaced |= {DELEGATE_USE} if delegate_keys else set[str]()
    kept = tuple(
        item for item in current.keys if item.key.kid not in names and not item.uses & replaced
    )
    thresholds = dict(current.thresholds) if threshold is None else read_thresholds(threshold) or {}
    keys = Keys((*new, *kept), current.next_keys, thresholds)
    return successor(current, versions[-1], keys, _now())


def _sign(made: Delegation, signers: Sequence[Signer]) -> str:
    distinct = list({item.public.kid: item for item in signers}.values())
    if not distinct:
        raise typer.BadParameter("one private rotate key at least has to be here, to sign first")
    return made.sign(*distinct)


def _tell(versions: Sequence[str], file: Path | None, *, as_json: bool) -> None:
    from schemas.delegation import parse_root

    found = [parse_root(token) for token in versions]
    previous = [None, *(item for _, item in found[:-1])]
    rows = [
        _row(token, envelope.kids, made, before)
        for token, (envelope, made), before in zip(versions, found, previous, strict=True)
    ]
    if as_json:
        display.machine({"file": None if file is None else str(file), "versions": rows})
        return
    for row, (envelope, made) in zip(rows, found, strict=True):
        display.fact("root", f"version {made.sequence}", "bold")
        display.fact("issued", row["issued_at"])
        display.fact("valid until", row.get("valid_until"))
        for item in made.keys:
            uses = ", ".join(sorted(item.uses))
            display.fact("kid", f"{item.key.kid}  {uses}{'  ending' if item.valid_until else ''}")
        for use, number in made.thresholds.items():
            display.fact("threshold", f"{number} to {use}")
        for kid in envelope.kids:
            display.fact("signed by", kid)
        display.fact("missing", row.get("missing"), "yellow")
    display.fact("file", file)


def _row(
    token: str, kids: Sequence[str], made: Delegation, before: Delegation | None
) -> dict[str, object]:
    from schemas.answer import rfc3339

    row: dict[str, object] = {
        "version": made.sequence,
        "issued_at": rfc3339(made.issued_at),
        "keys": [item.claims() for item in made.keys],
        "thresholds": dict(made.thresholds),
        "signed_by": list(kids),
        "envelope": token,
    }
    if made.valid_until is not None:
        row["valid_until"] = rfc3339(made.valid_until)
    missing = _missing(kids, made, made)
    if before is not None:
        missing += [f"{line} of version {before.sequence}" for line in _missing(kids, before, made)]
    if missing:
        row["missing"] = "; ".join(missing)
    return row


def _missing(kids: Sequence[str], asks: Delegation, made: Delegation) -> list[str]:
    from schemas.delegation import ROTATE_USE

    able = asks.keys_for(ROTATE_USE, made.issued_at)
    lacking = asks.threshold(ROTATE_USE) - sum(kid in able for kid in kids)
    return [f"{lacking} more rotate keys"] if lacking > 0 else []
