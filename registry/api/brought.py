"""What nodes bring each other: envelopes of one kind, and the chains that they verify by.

Nobody needs an API key to bring something: what is signed is the authority. Each envelope has its
result, in order, and one that is refused costs no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from registry.api.deps import read_object
from registry.api.openapi import answer, problems
from schemas.canonical import Json, JsonObject
from schemas.chain import MAX_CHAIN
from schemas.claims import Members
from schemas.envelope import MAX_TOKEN
from schemas.errors import BadInput, BadQuery, TierlinkError

JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJkZXB0aCI6Myw….c2lnbmF0dXJl…"


async def read(request: Request, name: str, most: int) -> tuple[Sequence[str], Sequence[str]]:
    """Read envelopes, at most so many, and the delegations; raise BadInput."""
    members = Members(await read_object(request), BadInput)
    tokens = members.array(name, most, _token)
    delegations = members.array("delegations", MAX_CHAIN * most, _token)
    members.done()
    return tokens, delegations


def reply(outcomes: Sequence[str | TierlinkError]) -> JSONResponse:
    """Answer with the state of each, or with what refuses it."""
    results: list[Json] = [_result(outcome) for outcome in outcomes]
    return JSONResponse({"results": results})


def _token(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise BadQuery(f"{where.rstrip('.')} is not an envelope", value=value)
    return value


def _result(outcome: str | TierlinkError) -> JsonObject:
    if isinstance(outcome, TierlinkError):
        return dict(outcome.problem())  # type: ignore[arg-type]
    return {"state": outcome}


# How the API is documented


def body(name: str) -> dict[str, Any]:
    """Describe a body."""
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {name: [JWS], "delegations": [JWS, JWS]},
                }
            },
        }
    }


def responses(state: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers; `state` is that of something that is taken in."""
    refused = {"title": "Verification failed", "status": 400, "code": "E_SIG", "detail": "…"}
    results = {"results": [{"state": state}, refused]}
    return {200: answer("a result for each, in order", results), **problems(400, 413, 415, 503)}
