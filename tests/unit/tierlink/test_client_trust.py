"""What a client trusts follows the server's newer delegations and roots, and nothing it invents."""

import json
from dataclasses import replace

import pytest

from schemas.answer import verify_record
from schemas.delegation import parse_delegation, parse_root
from schemas.envelope import digest
from schemas.errors import NotFound, VerifyError
from tests.parties import (
    GEAR,
    GEAR_TOKEN,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    ROOT,
    ROOT_TOKEN,
    STEEL,
    STRANGER,
    delegation,
    held,
    key,
    prefix,
    record,
    root,
    trust,
)
from tierlink.client.call import Reply
from tierlink.client.context import Context

LEAF, FRESH = prefix("88.100"), key("fresh root")


class Server:
    """What the server says, by target; lists what it was asked."""

    def __init__(self, roots=(ROOT_TOKEN,), runs=None):
        self.asked = []
        self.said = {"/v1/trust": {"v": 1, "roots": list(roots), "delegations": []}}
        for name, parent, run in runs or ():
            *earlier, newest = run
            view = {"prefix": name, "parent": parent, "delegation": newest}
            self.said[f"/v1/prefixes/{name}"] = view | ({"run": earlier} if earlier else {})

    def run(self, steps):
        """Answer every call of an operation; return what it returns."""
        try:
            call = next(steps)
            while True:
                self.asked.append(call.target)
                if call.target in self.said:
                    body = json.dumps(self.said[call.target]).encode()
                    call = steps.send(Reply(200, {}, body))
                else:
                    call = steps.throw(NotFound(f"nothing at {call.target}"))
        except StopIteration as end:
            return end.value


def follow(token, *signers, **members):
    """The next version of a delegation or root, signed."""
    typ = parse_root if parse_root_typ(token) else parse_delegation
    last = typ(token)[1]
    following = {"sequence": last.sequence + 1, "prev": digest(token)}
    return replace(last, **following | members).sign(*signers)


def parse_root_typ(token):
    try:
        parse_root(token)
    except VerifyError:
        return False
    return True


ROTATED = follow(GEAR_TOKEN, GEAR, keys=(held(GEAR, "rotate"), held(STEEL, "record")))
CHAIN = (("88.100", "88", (GEAR_TOKEN,)), ("88", ".", (INDUSTRY_TOKEN,)))
ROTATED_CHAIN = (("88.100", "88", (GEAR_TOKEN, ROTATED)), ("88", ".", (INDUSTRY_TOKEN,)))
ASKED = ["/v1/prefixes/88.100", "/v1/prefixes/88"]

SECOND = follow(
    ROOT_TOKEN,
    ROOT,
    FRESH,
    keys=(held(FRESH, "rotate", "delegate"), held(ROOT, "delegate", valid_until=ISSUED + 10)),
)


def checked(server, context, signer=GEAR):
    token = record("88.100/A").sign(signer)
    steps = context.checked(LEAF, lambda found: verify_record(token, found, NOW))
    return server.run(steps).parts.records[0].identifier.text


def client(*known, **options):
    return Context.of(trust(*known, **options), None, lambda: NOW)


def test_what_is_known_is_not_asked_for():
    server = Server()
    assert checked(server, client(INDUSTRY_TOKEN, GEAR_TOKEN)) == "88.100/A"
    assert server.asked == []


def test_what_is_not_known_is_asked_for_once():
    server, context = Server(runs=CHAIN), client()
    assert checked(server, context) == checked(server, context) == "88.100/A"
    assert server.asked == ASKED


def test_a_run_comes_whole():
    """The holder exchanged his record key: the new one needs all that lies before it."""
    server, context = Server(runs=ROTATED_CHAIN), client(INDUSTRY_TOKEN, GEAR_TOKEN)
    assert checked(server, context, signer=STEEL) == "88.100/A"
    assert server.asked == ASKED
    with pytest.raises(VerifyError, match="E_CHAIN"):
        checked(server, context, signer=GEAR)  # the old one is not taken back


def test_a_newer_root_is_followed():
    late = delegation("88", ".", INDUSTRY, issued_at=ISSUED + 10).sign(FRESH)
    runs = (("88.100", "88", (GEAR_TOKEN,)), ("88", ".", (late,)))
    server, context = Server((ROOT_TOKEN, SECOND), runs), client()
    assert checked(server, context) == checked(server, context) == "88.100/A"
    assert server.asked == [*ASKED, "/v1/trust"]
    assert context.known.root.holder.sequence == 2


def test_an_expired_root_is_renewed():
    short = root(valid_until=NOW).sign(ROOT)
    longer = follow(short, ROOT, valid_until=NOW + 1)
    server = Server((short, longer), CHAIN)
    context = client(INDUSTRY_TOKEN, GEAR_TOKEN, roots=(short,))
    assert checked(server, context) == "88.100/A"
    with pytest.raises(VerifyError, match="E_ROOT"):
        checked(Server((short,), CHAIN), client(INDUSTRY_TOKEN, GEAR_TOKEN, roots=(short,)))


FOREIGN = root(keys=(held(STRANGER),)).sign(STRANGER)
FORGED = follow(ROOT_TOKEN, STRANGER, keys=(held(STRANGER),))


@pytest.mark.parametrize("roots", [(FOREIGN,), (ROOT_TOKEN, FORGED), (FORGED,), ("x",), ()])
def test_a_root_that_does_not_follow_is_not(roots):
    """Why the answer did not verify is what counts."""
    stolen = delegation("88", ".", STRANGER).sign(STRANGER)
    server = Server(roots, (("88.100", "88", (GEAR_TOKEN,)), ("88", ".", (stolen,))))
    context = client()
    with pytest.raises(VerifyError, match="E_CHAIN"):
        checked(server, context)
    assert context.known.root.holder.sequence == 1


def test_a_server_without_a_trust_bundle_hides_no_reason():
    server = Server(runs=(("88.100", "88", (GEAR_TOKEN,)), ("88", ".", (GEAR_TOKEN,))))
    del server.said["/v1/trust"]
    with pytest.raises(VerifyError, match="E_CHAIN"):
        checked(server, client())
