"""The HTTP client to other nodes: a POST to a path of ours, and nothing they can turn it into.

    G1  an origin is the http(s) base URL of a node: no name, no password, no query
    G2  where its host is, is looked up once for each connection; each address found has to be one
        that anybody may reach (`TIERLINK_PEERS_PRIVATE` lets private ones and loopback pass; what
        serves the machines of a cloud, link-local, multicast and unspecified never pass)
    G3  the connection goes to an address that was checked, never to the name again: nobody can
        answer one thing to the check and another to the connection. TLS still checks the name
    G4  one request, one reply: no redirect is followed, no proxy of the environment asked, no
        cookie kept, no compression undone
    G5  limits: seconds for all of it, bytes of the reply, requests to one node at a time, and how
        many may wait for their turn; after a failure the node is left alone for a while (breaker)
    G6  the reply is read strictly, by its form. Nothing in it is believed here

Whatever goes wrong is PeerFailed or PeerUnreachable, which name the origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

import httpcore
import httpx

from schemas.canonical import JsonObject
from schemas.errors import BadInput, PeerFailed, PeerUnreachable
from schemas.identifier import Identifier
from schemas.source import Fetched

from .answers import boottime
from .metrics import Metrics
from .referral import normal
from .shared import Breaker

T = TypeVar("T")

BATCH = 1_000  # identifiers in one request: what a node takes at once
SECONDS = 1.5  # for one request, from the look-up of the host to the last byte
REPLY, PER_IDENTIFIER, LARGEST = 1 << 20, 16 << 10, 8 << 20  # bytes of a reply: see `_limit`
DELEGATIONS, PER_CHAIN = 256, 16  # in a reply, and more for each identifier: each one is parsed
AT_A_TIME = 8  # requests to one node
WAITING = 64  # requests that may wait for their turn at one node
PEERS = 1_024  # nodes that are remembered
CONNECTIONS = 256
ADDRESSES = 3  # of one host that are tried
NAMES = 16  # hosts that are looked up at a time

GUARDED: Final = "guard"
DENIED, REFUSED = "denied", "refused"
SOURCE: Final = "/v1/source"

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

# Where clouds serve the machines in them, beyond link-local addresses: credentials among others.
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "fd00:ec2::254"))
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Refused(httpcore.ConnectError):
    """G2: an address that nobody may be sent to."""


class Names:
    """Looks up hosts by the resolver of the system.

    That blocks a thread, for long where the servers of a name do not answer. So no name has more
    than one at a time, and they are not those of the rest of the process.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES, thread_name_prefix="names")
        self._asked: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host; raise OSError."""
        key = (host, port)
        found = self._asked.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._asked[key] = loop.run_in_executor(self._threads, _addresses, host, port)
            found.add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(found)

    def close(self) -> None:
        """Let threads that wait for an answer end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def refusal(text: str, *, private: bool = False) -> str:
    """G2: say why a connection may not go to an address; empty where it may."""
    try:
        address = _inner(ipaddress.ip_address(text))
    except ValueError:
        return "it is no address"
    if address in _METADATA or address.is_link_local:
        return "it is link-local, or serves the machines of a cloud"
    if address.is_multicast or address.is_unspecified:
        return "it is no address of one machine"
    if not private and (not address.is_global or address.is_reserved):
        return "it is not a public address"
    return ""


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if int(address) >> 32 == 0 and int(address) > 1:  # ::a.b.c.d, deprecated by RFC 4291 §2.5.5.1
        return ipaddress.IPv4Address(int(address))
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


class Guarded(httpcore.AsyncNetworkBackend):
    """G2, G3: looks up, checks, and connects to what was checked."""

    def __init__(
        self,
        resolve: Resolve,
        *,
        private: bool,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._resolve = resolve
        self._private = private
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (of the interface)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to one of the addresses of a host; raise ConnectError."""
        try:
            addresses = await self._resolve(host.strip("[]"), port)
        except OSError as err:
            raise httpcore.ConnectError(f"the host is not known: {err}") from err
        for address in addresses:
            why = refusal(address, private=self._private)
            if why:
                raise Refused(f"its host is at {address}: {why}")
        failed: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses[:ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as err:
                failed = err
        raise failed


class _Transport(httpx.AsyncHTTPTransport):
    """httpx over the guarded network, with neither redirects nor proxies nor cookies (G4)."""

    def __init__(self, network: Guarded, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS // 4,
            keepalive_expiry=30.0,
            network_backend=network,
        )


@dataclass(slots=True)
class _Peer:
    """What is known of one node."""

    breaker: Breaker
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_TIME))
    waiting: int = 0


class Peers:
    """Asks other nodes; for one event loop."""

    def __init__(
        self,
        *,
        private: bool = False,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
        seconds: float = SECONDS,
        clock: Callable[[], float] = boottime,
        context: ssl.SSLContext | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`private` lets nodes be at private addresses and on this machine.

        `resolve` looks up a host and `network` connects to an address, where not as usual.
        """
        self._names = Names()
        guarded = Guarded(resolve or self._names, private=private, network=network)
        self._transport = _Transport(guarded, context or ssl.create_default_context())
        self._seconds = seconds
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        metrics = metrics or Metrics()
        name, explained = "tierlink_peer_requests_total", "Requests to other nodes, by outcome."
        self._answered = metrics.counter(name, explained, outcome="answered")
        self._failed = metrics.counter(name, explained, outcome="failed")
        self._unreached = metrics.counter(name, explained, outcome="unreachable")

    async def ask(
        self, origin: str, identifiers: Sequence[Identifier], *, whole: bool = True
    ) -> Fetched:
        """Return what a node has on identifiers, unverified; raise PeerFailed.

        It is one request, of at most BATCH identifiers; `whole` as for `Source.fetch`.
        """
        asked: JsonObject = {"identifiers": [item.text for item in identifiers], "whole": whole}
        most = len(identifiers)
        return await self._guarded(
            origin, SOURCE, asked, lambda raw: _read(origin, raw, most), limit=_limit(most)
        )

    async def post(
        self, origin: str, path: str, body: JsonObject, *, seconds: float | None = None
    ) -> JsonObject:
        """Return what a node replies to a request, unverified; raise PeerFailed."""
        return await self._guarded(
            origin, path, body, lambda raw: _object(origin, raw), seconds=seconds
        )

    async def _guarded(
        self,
        origin: str,
        path: str,
        body: JsonObject,
        read: Callable[[bytes], T],
        *,
        limit: int = LARGEST,
        seconds: float | None = None,
    ) -> T:
        # G1
        if not origin or normal(origin) != origin:
            raise PeerFailed(origin, "this is not the base URL of a node", reason="origin")
        peer = self._peer(origin)
        # G5
        if peer.breaker.open:
            raise PeerUnreachable(origin, "it failed a moment ago", reason="breaker")
        if peer.waiting >= AT_A_TIME + WAITING:
            raise PeerUnreachable(origin, "too many requests wait for this node", reason="busy")
        peer.waiting += 1
        try:
            async with asyncio.timeout(seconds or self._seconds), peer.turn:
                reply = read(await self._exchange(origin, path, body, limit))
        except TimeoutError as err:
            raise self._broke(
                peer, PeerUnreachable(origin, "it did not answer in time", reason="timeout")
            ) from err
        except PeerFailed as err:
            if err.reason in (DENIED, REFUSED):  # this question, and not every one
                raise
            raise self._broke(peer, err) from err.__cause__
        finally:
            peer.waiting -= 1
        peer.breaker.worked()
        self._answered.add()
        return reply

    def _peer(self, origin: str) -> _Peer:
        peer = self._peers.pop(origin, None) or _Peer(Breaker(self._clock))
        self._peers[origin] = peer
        if len(self._peers) > PEERS:
            idle = next((name for name, item in self._peers.items() if not item.waiting), origin)
            if idle != origin:
                del self._peers[idle]
        return peer

    def _broke(self, peer: _Peer, error: PeerFailed) -> PeerFailed:
        peer.breaker.failed()
        (self._unreached if isinstance(error, PeerUnreachable) else self._failed).add()
        return error

    async def _exchange(self, origin: str, path: str, body: JsonObject, limit: int) -> bytes:
        try:
            request = httpx.Request(
                "POST",
                f"{origin}{path}",
                headers={"accept": "application/json", "accept-encoding": "identity"},
                json=body,
                extensions={"timeout": httpx.Timeout(None).as_dict()},  # one is around all of it
            )
            response = await self._transport.handle_async_request(request)
            try:
                return await _body(origin, response, limit)
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.TimeoutException) as err:
            refused = isinstance(err.__cause__, Refused)
            raise PeerUnreachable(
                origin, f"it cannot be reached: {err}"[:300], reason=GUARDED if refused else ""
            ) from err
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as err:
            raise PeerFailed(
                origin, f"the exchange broke off: {type(err).__name__}", reason="http"
            ) from err

    async def close(self) -> None:
        """Close the connections."""
        self._names.close()
        await self._transport.aclose()


def _limit(identifiers: int) -> int:
    """Return how many bytes a reply about so many identifiers may have.

    One record with everything about it may be large; a thousand are not all so.
    """
    return min(REPLY + identifiers * PER_IDENTIFIER, LARGEST)


def _check_status(origin: str, response: httpx.Response) -> None:
    """G4: raise PeerFailed unless the reply is a good one."""
    if 300 <= response.status_code < 400:  # noqa: PLR2004  (redirects)
        raise PeerFailed(origin, "it sends us elsewhere, where we do not go", reason="redirect")
    if response.status_code in {429, 503}:
        raise PeerUnreachable(origin, f"it answers {response.status_code}", reason="busy")
    if response.status_code in {401, 403}:
        raise PeerFailed(origin, "it refuses to answer", reason=DENIED)
    if response.status_code == httpx.codes.BAD_REQUEST:
        raise PeerFailed(origin, f"it answers {response.status_code}", reason=REFUSED)
    if response.status_code != httpx.codes.OK:
        raise PeerFailed(origin, f"it answers {response.status_code}", reason="status")


async def _body(origin: str, response: httpx.Response, limit: int) -> bytes:
    """G4, G5: read the body of a good reply."""
    _check_status(origin, response)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise PeerFailed(origin, "its reply is compressed, unasked", reason="encoding")
    too_large = PeerFailed(origin, f"its reply has over {limit} bytes", reason="too_large")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts: list[bytes] = []
    read = 0
    async for part in response.aiter_raw():
        read += len(part)
        if read > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _read(origin: str, raw: bytes, most: int) -> Fetched:
    """G6: read a reply about at most so many identifiers."""
    try:
        fetched = Fetched.from_json(_object(origin, raw), most)
    except BadInput as err:
        raise PeerFailed(
            origin, f"its reply is malformed: {err.detail}"[:300], reason="malformed"
        ) from err
    limit = DELEGATIONS + most * PER_CHAIN
    if len(fetched.delegations) > limit:
        raise PeerFailed(origin, f"it sends over {limit} delegations", reason="too_large")
    return fetched


def _object(origin: str, raw: bytes) -> JsonObject:
    """G6: read a JSON object, loosely: what is signed in it is read strictly where it is opened."""
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError) as err:
        raise PeerFailed(origin, "its reply is not JSON", reason="malformed") from err
    if not isinstance(reply, dict):
        raise PeerFailed(origin, "its reply is no JSON object", reason="malformed")
    return reply
