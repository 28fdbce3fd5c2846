"""Keys exchanged, revoked and recovered by the command line, on a node as its users run it."""

import json

import pytest

from schemas.delegation import parse_delegation
from tests.e2e.node import Node, node
from tests.fixtures_pg import short_folder
from tests.servers import wait_for


@pytest.fixture(scope="module")
def running():
    settings = {"TIERLINK_SAMPLE": "none", "TIERLINK_RECOVERY_SECONDS": "10"}
    with short_folder() as folder, node(folder / "data", **settings) as started:
        yield started


def done(outcome):
    """The JSON of a command that went well."""
    assert outcome.returncode == 0, (outcome.stdout, outcome.stderr)
    return json.loads(outcome.stdout.splitlines()[-1])


def failed(outcome, code):
    assert outcome.returncode == 1, (outcome.stdout, outcome.stderr)
    assert json.loads(outcome.stdout.splitlines()[0])["code"] == code, outcome.stdout


class Holder:
    """A prefix, its API key, and key files in a folder."""

    def __init__(self, running, tmp_path, prefix):
        self.running, self.folder, self.prefix = running, tmp_path, prefix
        self.api_key = tmp_path / "api.key"

    def make(self, *names):
        for name in names:
            done(self.running.cli("keygen", self.file(name), "--json"))

    def file(self, name):
        return str(self.folder / f"{name}.pem")

    def cli(self, *arguments):
        environment = dict(self.running.environment)
        self.running.environment["TIERLINK_API_KEY_FILE"] = str(self.api_key)
        try:
            return self.running.cli(*arguments)
        finally:
            self.running.environment.clear()
            self.running.environment.update(environment)

    def allocate(self, *arguments):
        name = ("--organisation", "Acme", "--api-key-out", str(self.api_key), "--json")
        return done(self.running.cli("allocate", self.prefix, *name, *arguments))

    def register(self, suffix, key):
        arguments = ("--kind", "item", "--title", suffix, "--key", self.file(key), "--json")
        return self.cli("register", f"{self.prefix}/{suffix}", *arguments)

    def resolves(self, suffix):
        found = self.running.cli("resolve", f"{self.prefix}/{suffix}", "--json")
        return found.returncode == 0

    def shown(self):
        return done(self.running.cli("prefix", "show", self.prefix, "--json"))


@pytest.fixture
def holder(running, tmp_path, request):
    made = Holder(running, tmp_path, f"88.{200 + sum(map(ord, request.node.name)) % 700}")
    made.make("first", "second", "third")
    made.allocate("--key", made.file("first"), "--next", made.file("second"))
    return made


def test_rotate_and_what_was_signed_still_verifies(holder, running):
    done(holder.register("OLD", "first"))
    rotated = done(
        holder.cli(
            "rotate",
            holder.prefix,
            *("--sign", holder.file("first"), "--key", holder.file("second")),
            *("--next", holder.file("third"), "--json"),
        )
    )
    assert rotated["sequence"] == 2
    assert len(rotated["run"]) == 1
    done(holder.register("NEW", "second"))
    wait_for(lambda: holder.resolves("NEW"), what="the new record")
    assert holder.resolves("OLD")
    with running.client() as client:
        for suffix in ("OLD", "NEW"):
            answer = client.get(f"/{holder.prefix}/{suffix}")
            wait_for(lambda: trusted(running, holder.prefix) == 2, what="trust.json")
            verdict = running.cli("verify", "-", "--json", stdin=answer.content)
            assert verdict.returncode == 0, (verdict.stdout, verdict.stderr)


def trusted(running, prefix):
    """How many delegations of a prefix trust.json holds."""
    document = json.loads((running.data_dir / "trust.json").read_text())
    found = [parse_delegation(token)[1] for token in document["delegations"]]
    return sum(str(item.subject) == prefix for item in found)


def test_a_key_that_was_not_committed_to_is_refused(holder):
    holder.make("stranger")
    outcome = holder.cli(
        "rotate",
        holder.prefix,
        *("--sign", holder.file("first"), "--key", holder.file("stranger"), "--json"),
    )
    failed(outcome, "E_CHAIN")
    assert holder.shown()["sequence"] == 1


def test_revoke_and_later_records_are_refused(holder, running):
    done(holder.register("OLD", "first"))
    done(
        holder.cli(
            "rotate",
            holder.prefix,
            *("--sign", holder.file("first"), "--key", holder.file("second")),
            *("--next", holder.file("third"), "--json"),
        )
    )
    done(holder.register("GOOD", "second"))
    revoked = done(
        holder.cli(
            "revoke",
            holder.prefix,
            holder.file("first"),
            *("--reason", "compromised", "--sign", holder.file("second"), "--json"),
        )
    )
    assert revoked["sequence"] == 3
    failed(holder.register("BAD", "first"), "E_REVOKED")
    done(holder.register("BETTER", "second"))
    wait_for(lambda: holder.resolves("BETTER"), what="the record of the key that stands")
    shown = running.cli("prefix", "show", holder.prefix)
    assert b"revoked since entry" in shown.stdout


def test_hosted_keys_are_rotated_and_revoked_in_place(running, tmp_path):
    hosted = Holder(running, tmp_path, "88.150")
    first = hosted.allocate()
    rotated = done(hosted.cli("rotate", "88.150", "--json"))
    assert rotated["hosted"] is True
    assert rotated["keys"][0]["kid"] != first["keys"][0]["kid"]
    revoked = done(
        hosted.cli(
            "revoke", "88.150", rotated["keys"][0]["kid"], "--reason", "superseded", "--json"
        )
    )
    assert revoked["keys"][0]["kid"] != rotated["keys"][0]["kid"]
    done(hosted.cli("register", "88.150/A", "--kind", "item", "--title", "A", "--json"))


def test_hosted_keys_go_home(running, tmp_path):
    hosted = Holder(running, tmp_path, "88.151")
    hosted.make("own", "later")
    hosted.allocate()
    done(hosted.cli("rotate", "88.151", "--next", hosted.file("own"), "--json"))
    home = done(
        hosted.cli(
            "rotate",
            "88.151",
            *("--key", hosted.file("own"), "--next", hosted.file("later"), "--json"),
        )
    )
    assert home["hosted"] is False
    done(hosted.register("A", "own"))


def test_the_parent_delegates_anew_where_nothing_was_committed(running, tmp_path):
    plain = Holder(running, tmp_path, "88.152")
    plain.make("own", "other")
    plain.allocate("--key", plain.file("own"))
    anew = done(
        running.cli("delegate", "88.152", "--as", ".", "--key", plain.file("other"), "--json")
    )
    assert anew["sequence"] == 2
    done(plain.register("A", "other"))


def test_recover_waits_can_be_objected_to_and_completes(holder, running):
    holder.make("rescue", "after")
    to = ("--key", holder.file("rescue"), "--next", holder.file("after"), "--json")
    failed(running.cli("delegate", holder.prefix, *to), "recovery_needed")
    announced = done(running.cli("recover", holder.prefix, *to))
    assert announced["sequence"] == 1
    assert holder.shown()["recovery"] == announced["recovery"]
    failed(running.cli("recover", holder.prefix, "--complete", "--json"), "recovery_waits")
    cancelled = done(
        holder.cli("recover", holder.prefix, "--cancel", "--sign", holder.file("first"), "--json")
    )
    assert "recovery" not in cancelled
    done(running.cli("recover", holder.prefix, *to))
    tries = []

    def completes():
        tries.append(running.cli("recover", holder.prefix, "--complete", "--json"))
        return tries[-1].returncode == 0

    wait_for(completes, seconds=40, what="the end of the waiting period")
    assert json.loads(tries[-1].stdout)["sequence"] == 2
    done(holder.register("A", "rescue"))
    wait_for(lambda: holder.resolves("A"), what="the record of the recovered prefix")


def test_the_root_in_the_hands_of_custodians(tmp_path):
    """Three custodians, two of whom sign; the registry hosts a delegate key; then version 2."""
    with short_folder() as folder:
        tools = Holder(Tool(folder), folder, "88.1")
        tools.make("alice", "bob", "carol", "dave", "registry")
        public = folder / "bob.json"
        public.write_bytes(tools.running.cli("keygen", tools.file("bob2"), "--json").stdout)
        first = str(folder / "root.txt")
        made = done(
            tools.running.cli(
                *("root", "init", first, "--threshold", "rotate=2", "--json"),
                *("--rotate-key", tools.file("alice"), "--rotate-key", str(public)),
                *("--rotate-key", tools.file("carol"), "--delegate-key", tools.file("registry")),
            )
        )
        assert len(made["versions"][0]["signed_by"]) == 2
        assert "missing" not in made["versions"][0]
        settings = {
            "TIERLINK_SAMPLE": "none",
            "TIERLINK_ROOT_FILE": first,
            "TIERLINK_ROOT_KEY_FILE": tools.file("registry"),
        }
        with node(folder / "data", **settings) as running:
            holder = Holder(running, tmp_path, "88.1")
            holder.allocate()
            done(holder.cli("register", "88.1/A", "--kind", "item", "--title", "A", "--json"))
            second = str(folder / "second.txt")
            draft = done(
                running.cli(
                    *("root", "rotate", "--sign", tools.file("alice"), "--out", second, "--json"),
                    *("--rotate-key", tools.file("dave"), "--rotate-key", str(public)),
                )
            )
            assert "1 more rotate keys" in draft["versions"][1]["missing"]
            failed(
                running.cli("root", "sign", second, "--key", tools.file("alice"), "--json"),
                "E_CHAIN",
            )
            signed = done(
                running.cli(
                    *("root", "sign", second, "--key", tools.file("bob2"), "--submit", "--json")
                )
            )
            assert "missing" not in signed["versions"][1]
            shown = done(running.cli("root", "show", "--json"))
            assert [row["version"] for row in shown["versions"]] == [1, 2]
            after = done(running.cli("allocate", "88.2", "-o", "B", "--json"))
            assert after["sequence"] == 1
            with running.client() as client:
                assert client.get("/88.1/A").status_code == 200
            resolved = running.cli("resolve", "88.1/A", "--json")
            assert resolved.returncode == 0, resolved.stderr
        with node(folder / "data", **settings) as again:
            assert len(done(again.cli("root", "show", "--json"))["versions"]) == 2
            with again.client() as client:
                assert client.get("/88.1/A").status_code == 200


class Tool:
    """The command line without a node."""

    def __init__(self, folder):
        self._node = Node(folder / "none", "127.0.0.1", {})
        self.environment = self._node.environment

    def cli(self, *arguments, **options):
        return self._node.cli(*arguments, **options)
