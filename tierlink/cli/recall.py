"""`tierlink recall`: recall notices of a holder, whose answers carry them until they are lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import display
from .options import As, Json, KeyFile, Url
from .session import Session, sole

if TYPE_CHECKING:
    from tierlink.client import Recalled

recall = typer.Typer(help="Recall what is yours: every answer about it says so at once.")


@recall.command("issue")
def issue(
    issuer: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose recall it is.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="A name of your own for the recall.")],
    of: Annotated[
        list[str], typer.Argument(metavar="IDENTIFIER…", help="Items, batches or classes.")
    ],
    *,
    reason: Annotated[str, typer.Option(help="Why, in words for whoever has one of these.")],
    href: Annotated[str | None, typer.Option(help="Where it says what to do.")] = None,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Recall identifiers of PREFIX, or change what the recall of that ID names."""
    draft: dict[str, object] = {"iss": issuer, "id": name, "of": of, "reason": reason}
    if href is not None:
        draft["href"] = href
    with Session(url, speaker or sole(issuer), key).writer() as client:
        _print([client.recall(draft)], as_json=as_json)


@recall.command("lift")
def lift(
    issuer: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose recall it is.")],
    name: Annotated[str, typer.Argument(metavar="ID", help="Which one.")],
    *,
    url: Url = None,
    speaker: As = None,
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Take a recall back."""
    with Session(url, speaker or sole(issuer), key).writer() as client:
        _print([client.lift_recall(issuer, name)], as_json=as_json)


@recall.command("list")
def listing(
    issuer: Annotated[str, typer.Argument(metavar="PREFIX", help="Whose recalls.")],
    *,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the recalls of PREFIX, lifted ones too; anybody may."""
    with Session(url).plain() as client:
        _print(client.recalls(issuer), as_json=as_json)


def _print(found: tuple[Recalled, ...] | list[Recalled], *, as_json: bool) -> None:
    if as_json:
        display.machine(
            {
                "notices": [
                    {**item.notice.claims(), "digest": item.digest, "envelope": item.envelope}
                    for item in found
                ]
            }
        )
        return
    for item in found:
        said = item.notice
        display.table(
            {
                "recall": f"{said.issuer} {said.id}, version {said.version}, {said.state}",
                "of": ", ".join(marked.text for marked in said.of),
                "reason": said.reason,
                "more": said.href or "nothing",
            }
        )
