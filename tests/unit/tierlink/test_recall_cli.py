"""`tierlink recall` and `tierlink grant`: what they do, and for whom they speak."""

import asyncio
import json
from functools import partial

import pytest
from typer.testing import CliRunner

from registry.app import create_app
from tests.bridge import Bridge
from tests.holders import hold
from tierlink import client, keyfile
from tierlink.cli import app

ISSUE = ("recall", "issue", "88.9", "2026-1", "88.9/GEAR-1", "88.9/LOT-7", "--reason", "cracks")


@pytest.fixture
async def node(registry, monkeypatch, tmp_path):
    """A function that runs a command against the registry, with none of our variables."""
    for name in ("API_KEY", "API_KEY_FILE", "URL", "KEY", "DATA_DIR"):
        monkeypatch.delenv(f"TIERLINK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    bridge = Bridge(create_app(registry.deps))
    made = partial(client.Client, transport=bridge, now=registry.clock)
    monkeypatch.setattr(client, "Client", made)

    async def run(*arguments, exit_code=0, **environ):
        runner = CliRunner()
        done = await asyncio.to_thread(runner.invoke, app, [*arguments], env=environ)
        assert done.exit_code == exit_code, done.output
        return done.stdout if exit_code == 0 else done.stderr

    return run


async def registered(registry, prefix, api_key, holder=None):
    for name, kind in (("GEAR-1", "item"), ("LOT-7", "batch")):
        body = {"identifier": f"{prefix}/{name}", "kind": kind}
        if holder is not None:
            body = holder.body(name, kind)
        answer = await registry.post("/v1/identifiers", body, key=api_key)
        assert answer.status_code == 201, answer.text


@pytest.fixture
async def api_key(registry):
    made = (await registry.allocate("88.9", opened=False)).api_key
    await registered(registry, "88.9", made)
    return made


def known(folder, prefix, api_key, key_file=""):
    """What the data folder of the default place has of a prefix."""
    (folder / ".tierlink").mkdir(exist_ok=True)
    entry = {"prefix": prefix, "api_key": api_key, "key_file": key_file}
    text = json.dumps({"enterprises": [entry], "examples": {}, "loaded": True})
    (folder / ".tierlink" / "sample.json").write_text(text)


async def test_recalls_are_issued_listed_and_lifted(node, api_key, tmp_path):
    known(tmp_path, "88.9", api_key)
    said = await node(*ISSUE, "--href", "https://a.example/r")
    for part in ("88.9 2026-1, version 1, issued", "88.9/GEAR-1, 88.9/LOT-7", "cracks", "/r"):
        assert part in said
    (listed,) = json.loads(await node("recall", "list", "88.9", "--json"))["notices"]
    assert (listed["id"], listed["of"]) == ("2026-1", ["88.9/GEAR-1", "88.9/LOT-7"])
    assert "version 2, lifted" in await node("recall", "lift", "88.9", "2026-1")
    assert "no notice none" in await node("recall", "lift", "88.9", "none", exit_code=1)


async def test_a_key_file_of_the_data_folder_signs(node, registry, tmp_path):
    holder = await hold(registry, "88.9")
    await registered(registry, "88.9", holder.api_key, holder)
    keyfile.save(tmp_path / "key.pem", holder.private)
    known(tmp_path, "88.9", holder.api_key, str(tmp_path / "key.pem"))
    assert "version 1, issued" in await node(*ISSUE)
    assert "version 2, lifted" in await node("recall", "lift", "88.9", "2026-1")
    # with the API key alone the registry would have to sign, and hosts no key
    given = {"TIERLINK_API_KEY": holder.api_key}
    assert "key" in await node(*ISSUE, exit_code=1, **given)
    assert "version 3, issued" in await node(*ISSUE, "--key", "key.pem", **given)


COMMANDS = {
    "recall": (ISSUE, ("recall", "lift", "88.9", "2026-1")),
    "grant": (
        ("grant", "give", "88.9", "g", "--to", "*"),
        ("grant", "list", "88.9"),
        ("grant", "revoke", "88.9", "g"),
    ),
}


@pytest.mark.parametrize("commands", COMMANDS.values(), ids=COMMANDS)
async def test_an_api_key_of_the_environment_speaks(node, registry, api_key, tmp_path, commands):
    given = {"TIERLINK_API_KEY": api_key}
    for command in commands:
        await node(*command, **given)  # whatever the data folder has, or has not
    other = (await registry.allocate("88.8")).api_key
    known(tmp_path, "88.9", other)
    for command in commands:
        await node(*command, **given)
    # who names a prefix means the one that the data folder has
    known(tmp_path, "88.8", other)
    for command in commands:
        said = await node(
            *command, "--as", "88.8", exit_code=0 if "list" in command else 1, **given
        )
        assert "list" in command or "88.9" in said
    (tmp_path / ".tierlink" / "sample.json").unlink()
    for command in commands:
        assert "no API key of this prefix" in await node(*command, exit_code=1)
