"""Redis as the memory of the second cache: one server, Sentinel, or Cluster, told by the URL.

    redis://host:6379/0  rediss://…  unix://…           one server
    sentinel://h1:26379,h2:26379/name[?db=0]            whoever Sentinel says is the master of name
    cluster://h1:6379,h2:6379  clusters://…             the shards that any of these tells of

`user:password@` before the hosts is for the servers (percent-encoded where need be); sentinels that
ask for one too get `?sentinel_username=…&sentinel_password=…`. `rediss`, `sentinels` and `clusters`
speak TLS, to sentinels as well, and check the certificate against the system's authorities or
`?ssl_ca_certs=/path/ca.pem`.

Of commands it needs MGET and SET, and EVAL to fill faster (not on a Cluster).

Time-outs are short, and nothing is tried twice: there is a source behind this cache.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, ResponseError

from schemas.errors import BadInput

CONNECT_SECONDS = 0.2
SOCKET_SECONDS = 0.25
CONNECTIONS = 16
# One command and one reply, for what would be one of each for each key.
_SET_EACH = """
for at, key in ipairs(KEYS) do redis.call('SET', key, ARGV[at + 1], 'EX', ARGV[1]) end
"""
_log = logging.getLogger(__name__)
_SCHEMES = "redis://, rediss://, unix://, sentinel://, sentinels://, cluster:// or clusters://"


def open_memory(url: str) -> Server | Cluster:
    """Prepare a client, which connects at its first use; raise BadInput on another URL."""
    parts = urlsplit(url)
    try:
        if parts.scheme in {"redis", "rediss", "unix"}:
            return Server(Redis.from_url(url, max_connections=CONNECTIONS, **_options()))
        if parts.scheme in {"sentinel", "sentinels"}:
            return _sentinel(parts)
        if parts.scheme in {"cluster", "clusters"}:
            nodes = [ClusterNode(host, port) for host, port in _hosts(parts, 6379)]
            return Cluster(
                RedisCluster(
                    startup_nodes=nodes,
                    **_credentials(parts),
                    **_tls(parts),
                    socket_timeout=SOCKET_SECONDS,
                    socket_connect_timeout=CONNECT_SECONDS,
                )
            )
    except ValueError as err:
        raise BadInput(f"TIERLINK_REDIS_URL: {err}", value=parts.hostname) from err
    raise BadInput(
        "TIERLINK_REDIS_URL has an unknown scheme",
        value=parts.scheme,
        fix=f"begin it with {_SCHEMES}",
    )


def _options() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 3,
    }


def _sentinel(parts: SplitResult) -> Server:
    name = parts.path.strip("/")
    if not name:
        raise BadInput(
            "TIERLINK_REDIS_URL names no master", fix="sentinel://host:26379/name-of-the-master"
        )
    database = int(_query(parts, "db") or 0)
    own = {
        "username": _query(parts, "sentinel_username"),
        "password": _query(parts, "sentinel_password"),
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        _hosts(parts, 26379),
        sentinel_kwargs={**_options(), **own, **_tls(parts)},
        db=database,
        **_credentials(parts),
        **_tls(parts),
    )
    client = sentinel.master_for(name, max_connections=CONNECTIONS, **_options())
    return Server(client, *sentinel.sentinels)


def _credentials(parts: SplitResult) -> dict[str, Any]:
    """Return who we are to the servers; a password may hold any character, percent-encoded."""
    return {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }


def _tls(parts: SplitResult) -> dict[str, Any]:
    if parts.scheme not in {"sentinels", "clusters"}:
        return {}
    return {"ssl": True, "ssl_ca_certs": _query(parts, "ssl_ca_certs")}


def _query(parts: SplitResult, name: str) -> str | None:
    return parse_qs(parts.query).get(name, [None])[0]


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    found = []
    for item in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{item}")
        if not one.hostname:
            raise BadInput("TIERLINK_REDIS_URL names no host", value=item)
        found.append((one.hostname, one.port or port))
    return found


class Server:
    """One server, or whichever Sentinel names."""

    def __init__(self, client: Redis, *others: Redis) -> None:
        """Take a client, and others (of the sentinels) that are closed with it."""
        self._client = client
        self._others = others
        self._scripts = True  # until the server refuses one

    async def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return what is kept under each name, by one MGET."""
        return cast("Sequence[bytes | None]", await self._client.mget(names))

    async def set_many(self, entries: Mapping[bytes, bytes], seconds: int) -> None:
        """Keep entries, by one script, or one pipeline where scripts are not allowed to us."""
        if self._scripts:
            try:
                await self._client.eval(
                    _SET_EACH, len(entries), *entries, seconds, *entries.values()
                )
            except ResponseError as err:
                if not _forbidden(err):
                    raise
                _log.warning("no scripts in this Redis, which makes filling it slower: %s", err)
                self._scripts = False
            else:
                return
        pipeline = self._client.pipeline(transaction=False)
        for name, value in entries.items():
            _ = pipeline.set(name, value, ex=seconds)  # sent by execute
        await pipeline.execute()

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._client, *self._others):
            await client.aclose()


def _forbidden(err: ResponseError) -> bool:
    """Tell whether an access list or a renamed command keeps scripts from us, for good."""
    return isinstance(err, NoPermissionError) or "unknown command" in str(err).lower()


class Cluster:
    """Shards; a command of several keys goes to each shard that has some of them."""

    def __init__(self, client: RedisCluster) -> None:
        self._client = client

    async def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return what is kept under each name."""
        return await self._client.mget_nonatomic(list(names))

    async def set_many(self, entries: Mapping[bytes, bytes], seconds: int) -> None:
        """Keep entries, by one pipeline for each shard."""
        pipeline = self._client.pipeline()
        for name, value in entries.items():
            _ = pipeline.set(name, value, ex=seconds)  # sent by execute
        await pipeline.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
