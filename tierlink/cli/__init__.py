"""The command line.

Exit codes: 0 found or valid, 1 not found, invalid or refused, 2 usage, 3 cannot be told.

One file per noun; this one lists the commands in the order of `tierlink --help`. A command imports
what it needs when it runs, so that help and completion come at once.
"""

from __future__ import annotations

import sys

import typer

from . import (
    backup,
    custody,
    epcis,
    federation,
    grants,
    identifiers,
    imports,
    integrity,
    keys,
    links,
    node,
    prefixes,
    proof,
    recall,
    root,
    trace,
    witness,
)
from .failing import Commands

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    name="tierlink",
    help="Industrial internet identifier resolution (工业互联网标识解析).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="TIERLINK_URL names the node, TIERLINK_API_KEY (or _FILE) who asks, TIERLINK_KEY the key"
    " to sign with, TIERLINK_DATA_DIR the folder of trust.json.",
)

app.command("up")(node.up)
app.command("migrate")(node.migrate)
app.command("registry")(node.registry)
app.command("resolver")(node.resolver)
app.command("federation")(federation.federation)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("witness")(witness.witness)
app.command("keygen")(keys.keygen)
app.command("allocate")(prefixes.allocate)
app.add_typer(prefixes.prefix, name="prefix")
app.command("delegate")(custody.delegate)
app.command("rotate")(custody.rotate)
app.command("revoke")(custody.revoke)
app.command("recover")(custody.recover)
app.add_typer(root.root, name="root")
app.command("register")(identifiers.register)
app.command("update")(identifiers.update)
app.command("retire")(identifiers.retire)
app.command("import")(imports.import_)
app.command("integrity")(integrity.integrity)
app.command("link")(links.link)
app.add_typer(grants.grant, name="grant")
app.add_typer(recall.recall, name="recall")
app.add_typer(epcis.epcis, name="epcis")
app.command("deliveries")(federation.deliveries)
app.command("resolve")(identifiers.resolve)
app.command("trace")(trace.trace)
app.command("proof")(proof.proof)
app.command("verify")(proof.verify)
app.command("trust")(proof.trust)
app.command("export")(identifiers.export)


def main() -> None:
    """Run the command line."""
    sys.exit(app())
