"""Which process keeps house: an advisory lock, on a connection that is used for nothing else."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg

Driver: TypeAlias = "asyncpg.Connection[Any]"

_LOCK = int.from_bytes(b"tl-tidy1")  # 64 bits


async def lead(driver: Driver) -> bool:
    """Become the one that keeps house; the lead is lost with the connection, never a pooled one."""
    return bool(await driver.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))


async def check(driver: Driver) -> None:
    """Raise where the connection is lost, and the lead with it."""
    await driver.execute("SELECT 1")
