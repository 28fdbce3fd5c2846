"""`tierlink grant`: what a holder opens to others of his links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, KeyFile, Url
from .session import Session, sole

if TYPE_CHECKING:
    from tierlink.client import Granted

grant = typer.Typer(help="Open links to others, beyond the ends that are their own.")


@grant.command("give")
def give(
    grantor: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose links are opened.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="A name of your own for the grant.")],
    *,
    to: Annotated[str, typer.Option(metavar="PREFIX|*", help="To whom; * is anybody.")],
    root: Annotated[
        str | None, typer.Option(help="Only from this identifier, or from items of this class.")
    ] = None,
    direction: Annotated[
        str | None, typer.Option("--direction", "-d", help="Only upstream, or downstream.")
    ] = None,
    depth: Annotated[
        int, typer.Option(min=1, max=100, help="Links shown one behind the other.")
    ] = 1,
    aspect: Annotated[
        list[str] | None, typer.Option(help="Only links of this type or lifecycle; repeatable.")
    ] = None,
    purpose: Annotated[str | None, typer.Option(help="Only for who asks for this.")] = None,
    blinded: Annotated[
        bool, typer.Option("--blinded", help="Show that there are far ends, and not which.")
    ] = False,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Open the links of PREFIX to somebody, or change what the grant of that ID opens."""
    draft: dict[str, object] = {"iss": grantor, "id": name, "to": to, "depth": depth}
    given = {
        "root": root,
        "direction": direction,
        "aspects": aspect or None,
        "purpose": purpose,
        "show": "blinded" if blinded else None,
    }
    draft |= {member: value for member, value in given.items() if value is not None}
    with Session(url, speaker or sole(grantor), key).writer() as client:
        _print([client.grant(draft)], as_json=as_json)


@grant.command("list")
def listing(
    grantor: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose grants.")],
    *,
    url: Url = None,
    speaker: As = None,
    as_json: Json = False,
) -> None:
    """List the grants of PREFIX: all of them to itself, to others those that are theirs."""
    with Session(url, speaker or sole(grantor)).writer() as client:
        _print(client.grants(grantor), as_json=as_json)


@grant.command("received")
def received(*, url: Url = None, speaker: As = None, as_json: Json = False) -> None:
    """List what holders at other nodes grant to oneself: traces go further by it."""
    with Session(url, speaker).writer() as client:
        _print(client.received_grants(), as_json=as_json)


@grant.command("revoke")
def revoke(
    grantor: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose grant.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Which one.")],
    *,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Take a grant back."""
    with Session(url, speaker or sole(grantor), key).writer() as client:
        _print([client.revoke_grant(grantor, name)], as_json=as_json)


def _print(found: tuple[Granted, ...] | list[Granted], *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "grants": [
                    {**item.grant.claims(), "digest": item.digest, "envelope": item.envelope}
                    for item in found
                ]
            }
        )
        return
    for item in found:
        said = item.grant
        display.table(
            {
                "grant": f"{said.grantor} {said.id}, version {said.version}, {said.state}",
                "to": "anybody" if said.to is None else str(said.to),
                "opens": f"{said.direction or 'both ways'}, {said.depth} deep, {said.show}",
                "from": said.root.text if said.root else "everything of the prefix",
                "links": ", ".join(sorted(said.aspects)) or "all",
                "purpose": said.purpose or "any",
                **_on_its_way(item),
            }
        )


def _on_its_way(item: Granted) -> dict[str, object]:
    if item.handover is None:
        return {}
    return {"on its way": item.handover or "not tried yet"}
