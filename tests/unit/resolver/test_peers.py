"""The client to other nodes, against servers that do whatever they like."""

import asyncio
import datetime as dt
import ssl

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from resolver.peers import (
    AT_A_TIME,
    LARGEST,
    PER_IDENTIFIER,
    REPLY,
    WAITING,
    Guarded,
    Names,
    Peers,
    Refused,
    _limit,
    refusal,
)
from schemas.errors import PeerFailed, PeerUnreachable
from schemas.identifier import Identifier
from schemas.source import State
from tests.clock import Clock
from tests.federation import ROOT, Federation
from tests.nodes_http import Wicked, drips, floods, floods_headers, honest, http, reply, stalls

HOME = Identifier.parse("99/HOME")
SMALL = b'{"found": [], "delegations": [], "watermark": "e.1"}'
PUBLIC = "93.184.215.14"


@pytest.fixture(scope="module")
def node():
    world = Federation()
    world.add("99")
    world.register("99/HOME")
    return world.net().nodes[ROOT]


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that trusts nobody, and is quick to make


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def peers(clock):
    made = Peers(private=True, seconds=0.5, clock=clock, context=PLAIN)
    yield made
    await made.close()


@pytest.fixture
async def wicked():
    async with Wicked() as server:
        yield server


async def refused(peers, origin, *identifiers):
    with pytest.raises(PeerFailed) as caught:
        await peers.ask(origin, identifiers or [HOME])
    assert caught.value.value == origin
    return caught.value


async def test_an_honest_node_is_asked_in_one_request_on_one_connection(peers, wicked, node):
    wicked.manner = honest(node)
    for _ in range(3):
        fetched = await peers.ask(wicked.origin, [HOME, Identifier.parse("98/X")])
        states = [found.state for found in fetched.found.values()]
        assert states == [State.FOUND, State.NOWHERE]
        assert fetched.ttl == 30
    assert (len(wicked.requests), wicked.connections) == (3, 1)
    line, headers, body = wicked.requests[0]
    assert line == "POST /v1/source HTTP/1.1"
    assert body == {"identifiers": ["99/HOME", "98/X"], "whole": True}
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


async def test_no_cookie_is_kept(peers, wicked):
    wicked.manner = reply(http(SMALL, fields=["set-cookie: a=b"]))
    await peers.ask(wicked.origin, [HOME])
    await peers.ask(wicked.origin, [HOME])
    assert all("cookie" not in headers for _, headers, _ in wicked.requests)


BAD = {
    "redirect": (reply(http(b"", "307 T", fields=["location: http://127.0.0.1:1/"])), "redirect"),
    "not modified": (reply(b"HTTP/1.1 304 N\r\n\r\n"), "redirect"),
    "500": (reply(http(b"{}", "500 Internal")), "status"),
    "404": (reply(http(b"{}", "404 Not Found")), "status"),
    "206": (reply(http(SMALL, "206 Partial")), "status"),
    "not HTTP": (reply(b"SSH-2.0-OpenSSH\r\n\r\n", close=True), "http"),
    "closes at once": (reply(b"", close=True), "http"),
    "cut off in the head": (reply(b"HTTP/1.1 200 OK\r\nconte", close=True), "http"),
    "cut off in the body": (reply(http(SMALL, length=900), close=True), "http"),
    "bad chunks": (
        reply(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", close=True),
        "http",
    ),
    "compressed": (reply(http(b"\x1f\x8b", fields=["content-encoding: gzip"])), "encoding"),
    "says it is long": (reply(http(b"", length=1 << 40)), "too_large"),
    "body without end": (floods, "too_large"),
    "headers without end": (floods_headers, "http"),
    "no JSON": (reply(http(b"<html>")), "malformed"),
    "not UTF-8": (reply(http(b'"\xff"')), "malformed"),
    "deep": (reply(http(b"[" * 100_000)), "malformed"),
    "huge number": (reply(http(b'{"ttl": ' + b"9" * 10_000 + b"}")), "malformed"),
    "array": (reply(http(b"[]")), "malformed"),
    "nothing": (reply(http(b"")), "malformed"),
    "many delegations": (
        reply(http(SMALL.replace(b'ons": []', b'ons": [' + b'"x",' * 272 + b'"x"]'))),
        "too_large",
    ),
    "no watermark": (reply(http(b'{"found": []}')), "malformed"),
    "ttl too long": (reply(http(SMALL[:-1] + b', "ttl": 86401}')), "malformed"),
    "negative ttl": (reply(http(SMALL[:-1] + b', "ttl": -1}')), "malformed"),
    "fraction of a ttl": (reply(http(SMALL[:-1] + b', "ttl": 1.5}')), "malformed"),
    "state of a process": (
        reply(http(SMALL.replace(b"[]", b'[{"identifier":"9/X","state":"unreachable"}]', 1))),
        "malformed",
    ),
    "more than was asked": (
        reply(
            http(
                SMALL.replace(
                    b"[]",
                    b'[{"identifier":"9/X","state":"missing"},'
                    b'{"identifier":"9/Y","state":"missing"}]',
                    1,
                )
            )
        ),
        "malformed",
    ),
    "a bad identifier": (
        reply(http(SMALL.replace(b"[]", b'[{"identifier":"9/\\u0007","state":"missing"}]', 1))),
        "malformed",
    ),
}


@pytest.mark.parametrize(("manner", "reason"), BAD.values(), ids=BAD)
async def test_a_bad_reply_is_refused_by_reason(peers, wicked, manner, reason):
    wicked.manner = manner
    error = await refused(peers, wicked.origin)
    assert (error.code, error.status, error.reason) == ("peer_failed", 502, reason)
    assert len(wicked.requests) == 1


SLOW = {
    "stalls": stalls,
    "drips its head": drips(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50, 0.05),
    "drips its body": drips(http(SMALL), 0.05),
    "never ends its interim replies": drips(b"HTTP/1.1 100 C\r\n\r\n" * 9, 0.05),
}


@pytest.mark.parametrize("manner", SLOW.values(), ids=SLOW)
async def test_a_slow_node_is_given_up_in_time(wicked, manner, clock):
    peers = Peers(private=True, seconds=0.15, clock=clock, context=PLAIN)
    wicked.manner = manner
    error = await refused(peers, wicked.origin)
    assert (error.code, error.status, error.reason) == ("peer_unreachable", 503, "timeout")
    await peers.close()


@pytest.mark.parametrize("status", ["429 Too Many", "503 Unavailable"])
async def test_a_busy_node_is_unreachable(peers, wicked, status):
    wicked.manner = reply(http(b"{}", status))
    assert (await refused(peers, wicked.origin)).code == "peer_unreachable"


async def test_nobody_listens(peers, wicked):
    await wicked.__aexit__()
    error = await refused(peers, wicked.origin)
    assert (error.code, error.reason) == ("peer_unreachable", "")


# G5


async def test_garbage_is_a_failure_as_well(peers, wicked):
    wicked.manner = reply(http(b"<html>"))
    await refused(peers, wicked.origin)
    assert (await refused(peers, wicked.origin)).reason == "breaker"


async def test_after_a_failure_a_node_is_left_alone_for_a_while(peers, wicked, node, clock):
    wicked.manner = reply(http(b"{}", "500 Internal"))
    await refused(peers, wicked.origin)
    error = await refused(peers, wicked.origin)
    assert (error.code, error.reason, len(wicked.requests)) == ("peer_unreachable", "breaker", 1)
    clock.move(0.1)
    await refused(peers, wicked.origin)
    clock.move(0.15)  # longer after each in a row
    assert (await refused(peers, wicked.origin)).reason == "breaker"
    clock.move(0.1)
    wicked.manner = honest(node)
    await peers.ask(wicked.origin, [HOME])
    await peers.ask(wicked.origin, [HOME])
    assert len(wicked.requests) == 4


async def test_one_node_has_so_many_requests_at_a_time_and_no_more_wait(wicked, node, clock):
    peers = Peers(private=True, seconds=5, clock=clock, context=PLAIN)
    go = asyncio.Event()
    answer = honest(node)

    async def waits(asked, writer):
        await go.wait()
        await answer(asked, writer)

    wicked.manner = waits
    tasks = [
        asyncio.create_task(peers.ask(wicked.origin, [HOME])) for _ in range(AT_A_TIME + WAITING)
    ]
    await wicked.reached(AT_A_TIME)
    assert (await refused(peers, wicked.origin)).reason == "busy"
    async with Wicked(answer) as another:  # which nobody else holds up
        await peers.ask(another.origin, [HOME])
    go.set()
    assert all(await asyncio.gather(*tasks))
    assert wicked.most_open == AT_A_TIME
    await peers.close()


def test_a_reply_may_be_as_long_as_the_question_allows():
    assert _limit(1) == REPLY + PER_IDENTIFIER
    assert _limit(10**6) == LARGEST


# G1 to G3


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "ftp://a.example",
        "file:///etc/passwd",
        "gopher://a.example:70",
        "//a.example",
        "http://",
        "http://user@a.example",
        "http://user:secret@a.example",
        "http://a.example/?q",
        "http://a.example/#f",
        "http://a.example:99999",
        "http://A.example",
        "http://a.example:80",
        "http://a.example/",
    ],
)
async def test_what_is_no_origin_in_its_one_spelling_is_not_asked(peers, origin):
    assert (await refused(peers, origin)).reason == "origin"


async def test_a_host_that_no_url_may_have(peers):
    error = await refused(peers, "http://999.1.1.1")
    assert (error.code, error.reason) == ("peer_failed", "http")


NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fd00:ec2::254",
    "168.63.129.16",
    "100.100.100.200",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "::ffff:0.0.0.0",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "not an address",
    "2852039166",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.9",
    "240.0.0.1",
    "255.255.255.255",
    "fc00::1",
    "fd12:3456::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a00:1",
    "64:ff9b::10.0.0.1",
    "2002:0a00:0001::1",
    "2002:7f00:1::1",
    "::7f00:1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo of 10.0.0.1
]
EVERYBODY = [PUBLIC, "1.1.1.1", "2606:4700::1111", "::ffff:93.184.215.14", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", NEVER + PRIVATE + EVERYBODY)
def test_which_addresses_may_be_connected_to(address):
    assert bool(refusal(address)) == (address not in EVERYBODY)
    assert bool(refusal(address, private=True)) == (address in NEVER)


class Wire(httpcore.AsyncNetworkBackend):
    """Connects to a port of this machine whatever the address; `connected` lists the addresses."""

    def __init__(self, port):
        self.port = port
        self.connected = []
        self.dead = set()
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, *_):  # noqa: ASYNC109
        self.connected.append((host, port))
        if host in self.dead:
            raise httpcore.ConnectError("dead")
        return await self._real.connect_tcp("127.0.0.1", self.port, timeout)


class Zone:
    """Answers look-ups in turn, the last one from then on."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["2606:4700::1111", "fe80::1"],
    ],
)
@pytest.mark.parametrize(
    "host", ["rebind.example", "2130706433", "0x7f.1", "127.1", "017700000001"]
)
async def test_a_name_of_such_an_address_is_refused(clock, addresses, host):
    wire = Wire(0)
    peers = Peers(resolve=Zone(addresses), network=wire, clock=clock, context=PLAIN)
    error = await refused(peers, f"http://{host}")
    assert (error.code, error.reason) == ("peer_unreachable", "guard")
    assert wire.connected == []
    await peers.close()


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1", "localhost", "[::ffff:7f00:1]"],
)
async def test_this_machine_is_refused_however_it_is_written(clock, host):
    """By the resolver of the system, which reads numbers as addresses."""
    wire = Wire(0)
    peers = Peers(network=wire, clock=clock, context=PLAIN)
    error = await refused(peers, f"http://{host}:5432")
    assert error.code == "peer_unreachable"
    assert wire.connected == []
    await peers.close()


async def test_the_connection_goes_to_the_address_that_was_checked(wicked, node, clock):
    """Who answers one thing to the check has no second answer to give."""
    wicked.manner = honest(node)
    zone, wire = Zone([PUBLIC], ["127.0.0.1"]), Wire(wicked.port)
    peers = Peers(resolve=zone, network=wire, clock=clock, context=PLAIN)
    await peers.ask("http://rebind.example:81", [HOME])
    assert (zone.asked, wire.connected) == (["rebind.example"], [(PUBLIC, 81)])
    assert wicked.requests[0][1]["host"] == "rebind.example:81"
    # On the same connection, without another look-up; on the next the other answer is refused.
    await peers.ask("http://rebind.example:81", [HOME])
    assert len(zone.asked) == 1
    assert (await refused(peers, "http://rebind.example:82")).reason == "guard"
    assert wire.connected == [(PUBLIC, 81)]
    await peers.close()


async def test_a_host_of_several_addresses_is_reached_by_one_that_lives(wicked, node, clock):
    wicked.manner = honest(node)
    wire = Wire(wicked.port)
    wire.dead.update({PUBLIC, "1.1.1.1", "1.0.0.1"})
    peers = Peers(resolve=Zone([PUBLIC, "8.8.8.8"]), network=wire, clock=clock, context=PLAIN)
    await peers.ask("http://two.example", [HOME])
    assert [host for host, _ in wire.connected] == [PUBLIC, "8.8.8.8"]
    await peers.close()
    peers = Peers(
        resolve=Zone([PUBLIC, "1.1.1.1", "1.0.0.1", "8.8.8.8"]), network=wire, clock=clock
    )
    assert (await refused(peers, "http://many.example")).code == "peer_unreachable"
    assert len(wire.connected) == 5  # not all that a zone may list
    await peers.close()


@pytest.mark.parametrize("answer", [OSError("NXDOMAIN"), []], ids=["unknown", "no address"])
async def test_a_host_without_an_address(clock, answer):
    peers = Peers(resolve=Zone(answer), network=Wire(0), clock=clock, context=PLAIN)
    assert (await refused(peers, "http://none.example")).code == "peer_unreachable"
    await peers.close()


async def test_a_name_is_looked_up_once_at_a_time(monkeypatch):
    import resolver.peers  # noqa: PLC0415

    asked = []
    monkeypatch.setattr(
        resolver.peers, "_addresses", lambda host, _port: asked.append(host) or [PUBLIC]
    )
    names = Names()
    assert await asyncio.gather(names("a", 1), names("a", 1), names("b", 1)) == [[PUBLIC]] * 3
    assert sorted(asked) == ["a", "b"]
    await names("a", 1)
    assert sorted(asked) == ["a", "a", "b"]
    names.close()


async def test_the_guard_refuses_what_a_caller_could_ask_of_it():
    guard = Guarded(Zone(["10.0.0.1"]), private=False, network=Wire(0))
    with pytest.raises(Refused):
        await guard.connect_tcp("x.example", 80)
    with pytest.raises(NotImplementedError):
        await guard.connect_unix_socket("/run/docker.sock")


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A server's TLS context for node.example, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("node.example")]), critical=False)
        .sign(key, SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls_checks_the_name_although_the_address_is_dialled(certified, node, clock):
    server, client = certified
    async with Wicked(honest(node), context=server) as secure:
        peers = Peers(
            resolve=Zone([PUBLIC]), network=Wire(secure.port), context=client, clock=clock
        )
        assert (await peers.ask("https://node.example", [HOME])).found[HOME].state is State.FOUND
        error = await refused(peers, "https://other.example")
        assert isinstance(error, PeerUnreachable)
        assert len(secure.requests) == 1
        await peers.close()
