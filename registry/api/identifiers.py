"""/v1/identifiers: one at a time, and many as a stream of NDJSON."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from registry import identifiers
from registry.api.deps import (
    CallerDep,
    DepsDep,
    Read,
    StreamCaller,
    StrictQuery,
    Write,
    path_identifier,
    read_object,
)
from registry.api.ndjson import MEDIA_TYPE as NDJSON, Exchange
from registry.api.openapi import answer, problems
from registry.batch import RecordBatch
from registry.identifiers import Entry, Past, Registered, Standing
from registry.offers import Offer, blame_identifier, read_offer
from registry.succession import ANY_VERSION
from schemas.answer import rfc3339
from schemas.canonical import MAX_INTEGER, JsonObject
from schemas.errors import BadInput, BadQuery, TierlinkError
from schemas.identifier import Identifier, Prefix
from schemas.keys import b64decode, b64encode

MAX_PAGE = 1000

router = APIRouter(tags=["identifiers"])

PATH = "/v1/identifiers"
_HEAD = f"{PATH}/"
_VERSIONS = "/versions"
_MATCH = re.compile(r'"?([0-9]{1,16})(?:\.[!#-~]*)?"?')

_DRAFT: JsonObject = {
    "identifier": "88.118.8/CELL-2026-000117",
    "kind": "item",
    "parent": "88.118.8/CELL-LFP-280",
    "targets": [
        {
            "rel": "gs1:pip",
            "href": "https://cells.example/280/000117",
            "type": "text/html",
            "title": "电芯 280 Ah",
            "hreflang": "zh-Hans",
        }
    ],
    "attributes": {"capacity": "280 Ah", "chemistry": "LFP"},
    "hidden": [{"audience": ["partner"], "attributes": {"cycles": "6000"}}],
}
_TOKEN = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJhdHRyaWJ1dGVzIjoi….c2lnbmF0dXJl…"  # noqa: S105  (an example)
_VIEW: JsonObject = {
    "identifier": "88.118.8/CELL-2026-000117",
    "version": 1,
    "kind": "item",
    "status": "active",
    "issued_at": "2026-11-18T10:13:20Z",
    "digest": "m1x0Qm3QpKk0VYb8b4v0m3yq0h8t3q4mC7Yd0m1wq3I",
    "envelope": _TOKEN,
}
_PAST: JsonObject = {
    name: _VIEW[name] for name in ("version", "status", "issued_at", "digest", "envelope")
}
_ENTRY: JsonObject = {
    "identifier": "88.118.8/CELL-2026-000117",
    "version": 1,
    "kind": "item",
    "status": "active",
    "parent": "88.118.8/CELL-LFP-280",
}
_RESULTS = (
    '{"line":1,"identifier":"88.118.8/CELL-2026-000117","status":201,"version":1}\n'
    '{"line":2,"status":400,"title":"Invalid identifier","code":"identifier_invalid",'
    '"detail":"the suffix is empty","value":"88.118.8/","position":9}\n'
)
_IF_MATCH: JsonObject = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'the version that is replaced, `"3"`, or any, `*`; needed with a draft',
    "schema": {"type": "string"},
    "example": '"1"',
}


def _body(*, required: bool, **examples: tuple[str, object]) -> dict[str, Any]:
    shown = {name: {"summary": text, "value": value} for name, (text, value) in examples.items()}
    content = {"application/json": {"schema": {"type": "object"}, "examples": shown}}
    return {"requestBody": {"required": required, "content": content}}


_REGISTER = _body(
    required=True,
    draft=("signed with the hosted key", _DRAFT),
    envelope=("signed by the client", {"envelope": _TOKEN}),
)
_UPDATE = {
    **_body(
        required=True,
        draft=("signed with the hosted key", {**_DRAFT, "status": "suspended"}),
        envelope=("signed by the client, with ver and prev", {"envelope": _TOKEN}),
    ),
    "parameters": [_IF_MATCH],
}
_RETIRE = {
    **_body(required=False, envelope=("a tombstone signed by the client", {"envelope": _TOKEN})),
    "parameters": [_IF_MATCH],
}
_BATCH = {
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {"schema": {"type": "string"}, "example": f'{{"envelope":"{_TOKEN}"}}\n'}
        },
    }
}


class ListQuery(BaseModel):
    """Which page of which prefix."""

    model_config = ConfigDict(extra="forbid")

    prefix: str = Field(description="the caller's own prefix")
    cursor: str | None = Field(None, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


class VersionsQuery(BaseModel):
    """Which page of the versions."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/identifiers",
    status_code=201,
    summary="Register an identifier",
    responses={
        201: answer("registered", _VIEW),
        200: answer("the same content stands already, or the next version was sent", _VIEW),
        **problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 503),
    },
    openapi_extra=_REGISTER,
)
async def register(request: Request, tx: Write, caller: CallerDep, deps: DepsDep) -> Response:
    """Register an envelope that you signed, or a draft for the hosted key to sign."""
    now = deps.clock()
    offer = read_offer(await _object(request), now, deps.keyring.salt)
    return shown(await identifiers.register(tx, deps.keyring, caller, offer, now), offer)


@router.post(
    "/v1/identifiers/batch",
    summary="Register and update many, a line each",
    responses={
        200: answer("a result for each line, in order", _RESULTS, NDJSON),
        **problems(401, 503),
    },
    openapi_extra=_BATCH,
)
async def batch(caller: StreamCaller, deps: DepsDep) -> Response:
    """Stream lines in and results out; each line is a body of POST /v1/identifiers.

    A line that is refused loses no other. Lines are written in chunks, in order; a parent may stand
    in an earlier line than its child.
    """
    return Exchange(RecordBatch(deps.store, deps.keyring, caller, deps.clock, deps.verifiers))


@router.get(
    "/v1/identifiers",
    summary="List the identifiers of your prefix",
    responses={
        200: answer("a page, in byte order", {"identifiers": [_ENTRY], "next": None}),
        **problems(400, 401, 403, 503),
    },
    dependencies=[StrictQuery],
)
async def listing(
    tx: Read, caller: CallerDep, query: Annotated[ListQuery, Query()]
) -> JSONResponse:
    """List what is registered, retired identifiers too."""
    prefix = Prefix.parse(query.prefix)
    after = "" if query.cursor is None else _read_cursor(query.cursor)
    page, last = await identifiers.listing(tx, caller, prefix, after, query.limit)
    following = None if last is None else b64encode(last.encode())
    return JSONResponse({"identifiers": [_entry(item) for item in page], "next": following})


# Before the route of the identifier itself, whose pattern holds this one.
@router.get(
    "/v1/identifiers/{identifier:path}/versions",
    summary="List the versions of an identifier",
    responses={
        200: answer(
            "a page, the newest first",
            {"identifier": _VIEW["identifier"], "versions": [_PAST], "next": None},
        ),
        **problems(400, 403, 404, 503),
    },
    dependencies=[StrictQuery],
)
async def versions(
    request: Request,
    identifier: str,
    tx: Read,
    query: Annotated[VersionsQuery, Query()],
) -> Response:
    """List them with their envelopes; those of a retired identifier too, its tombstone first."""
    if not request.scope["raw_path"].endswith(_VERSIONS.encode()):
        return await show(request, identifier, tx)  # a suffix that ends so, escaped
    about = path_identifier(request, _HEAD, _VERSIONS)
    below = MAX_INTEGER if query.cursor is None else _read_number(query.cursor)
    page, last = await identifiers.versions(tx, about, below, query.limit)
    return JSONResponse(
        {
            "identifier": about.text,
            "versions": [_past(item) for item in page],
            "next": None if last is None else str(last),
        }
    )


@router.get(
    "/v1/identifiers/{identifier:path}",
    summary="Show the version of an identifier that stands",
    responses={200: answer("it stands", _VIEW), **problems(400, 403, 404, 410, 503)},
)
async def show(
    request: Request,
    identifier: str,  # noqa: ARG001  (read from the raw path)
    tx: Read,
) -> Response:
    """Show what is registered and signed, without what is inherited."""
    return shown(Registered(await identifiers.show(tx, path_identifier(request, _HEAD))))


@router.put(
    "/v1/identifiers/{identifier:path}",
    summary="Replace what an identifier resolves to",
    responses={
        200: answer("this version stands now", _VIEW),
        **problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 428, 503),
    },
    openapi_extra=_UPDATE,
)
async def update(
    request: Request,
    identifier: str,  # noqa: ARG001  (read from the raw path)
    tx: Write,
    caller: CallerDep,
    deps: DepsDep,
) -> Response:
    """Write the next version: an envelope that names the one before, or a draft with If-Match."""
    about = path_identifier(request, _HEAD)
    body = await _object(request)
    if "envelope" not in body:
        body.setdefault("identifier", about.text)
    now = deps.clock()
    offer = read_offer(body, now, deps.keyring.salt)
    match = _match(request)
    done = await identifiers.update(
        tx, deps.keyring, caller, about, offer=offer, match=match, now=now
    )
    return shown(done, offer)


@router.delete(
    "/v1/identifiers/{identifier:path}",
    summary="Retire an identifier for good",
    responses={
        200: answer("the tombstone", {**_VIEW, "version": 2, "status": "retired"}),
        **problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 503),
    },
    openapi_extra=_RETIRE,
)
async def retire(
    request: Request,
    identifier: str,  # noqa: ARG001  (read from the raw path)
    tx: Write,
    caller: CallerDep,
    deps: DepsDep,
) -> Response:
    """Retire it: from now on it answers 410, and it is never issued again."""
    about = path_identifier(request, _HEAD)
    now = deps.clock()
    given = await request.body()
    offer = read_offer(await _object(request), now, deps.keyring.salt) if given else None
    done = await identifiers.retire(
        tx, deps.keyring, caller, about, offer=offer, match=_match(request), now=now
    )
    return shown(done)


async def _object(request: Request) -> JsonObject:
    try:
        return await read_object(request)
    except BadInput:
        blame_identifier(await request.body())
        raise


def shown(done: Registered, offer: Offer | None = None) -> Response:
    """Answer with what stands after a write, or stands."""
    stands = done.standing
    members = view(stands)
    if offer is not None and offer.marked:
        members["disclosures"] = [item.disclosure.text for item in offer.marked]
    location = f"/{Identifier.parse(stands.identifier).path}"
    headers = {"etag": f'"{stands.version}"', "location": location, "cache-control": "no-cache"}
    return JSONResponse(members, 201 if done.created else 200, headers)


def view(stands: Standing) -> JsonObject:
    """Return the members of the answer to a write."""
    return {
        "identifier": stands.identifier,
        "version": stands.version,
        "kind": stands.kind,
        "status": stands.status,
        "issued_at": rfc3339(stands.issued_at),
        "digest": stands.digest,
        "envelope": stands.envelope,
    }


def _past(item: Past) -> JsonObject:
    return {
        "version": item.version,
        "status": item.status,
        "issued_at": rfc3339(item.issued_at),
        "digest": item.digest,
        "envelope": item.envelope,
    }


def _entry(item: Entry) -> JsonObject:
    return {
        "identifier": item.identifier,
        "version": item.version,
        "kind": item.kind,
        "status": item.status,
        "parent": item.parent,
    }


def _match(request: Request) -> int | None:
    """Read If-Match: a version as ETag, also a resolver's `"<version>.<hash>"`, or `*`."""
    given = request.headers.get("if-match")
    if given is None:
        return None
    if given.strip() == "*":
        return ANY_VERSION
    found = _MATCH.fullmatch(given.strip())
    if found is None:
        raise BadInput(
            "If-Match is no version of a record",
            value=given,
            fix='send the ETag that you were given, such as "3"',
        )
    return int(found[1])


def _read_cursor(text: str) -> str:
    try:
        return Identifier.parse(b64decode(text).decode()).text
    except (TierlinkError, UnicodeDecodeError) as err:
        raise _bad_cursor(text) from err


def _read_number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,16}", text):
        raise _bad_cursor(text)
    return int(text)


def _bad_cursor(text: str) -> BadQuery:
    return BadQuery("not a cursor of this list", value=text, fix="send back `next`")
