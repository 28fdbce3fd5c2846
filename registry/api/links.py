"""/v1/links."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from registry import assertions, links
from registry.api.deps import (
    CallerDep,
    DepsDep,
    MaybeCaller,
    Read,
    StreamCaller,
    StrictQuery,
    Write,
    path_identifier,
    read_object,
)
from registry.api.ndjson import MEDIA_TYPE as NDJSON, Exchange
from registry.api.openapi import answer, problems
from registry.assertions import Stated
from registry.link_batch import LinkBatch
from registry.links import Shown
from schemas import canonical
from schemas.answer import edge_view
from schemas.canonical import JsonObject
from schemas.errors import BadQuery, TierlinkError
from schemas.keys import b64decode, b64encode
from schemas.viewer import PURPOSE, Viewer

MAX_PAGE = 1000

router = APIRouter(tags=["links"])

_DRAFT = {
    "side": "downstream",
    "type": "CONTAINED_IN",
    "upstream": "88.118.8/CELL-2026-000117",
    "downstream": "88.118.9/MODULE-2026-0042",
    "quantity": {"value": "12", "unit": "H87"},
}
_STATED = {
    "link_key": "9Zlm4pXgNf8cU1l1lq1m2oKQx4o1rIhtT9y0pV0W2vE",
    "side": "downstream",
    "version": 1,
    "state": "asserted",
    "link_state": "proposed",
    "upstream": "88.118.8/CELL-2026-000117",
    "downstream": "88.118.9/MODULE-2026-0042",
    "type": "CONTAINED_IN",
    "lifecycle": "asBuilt",
    "occurrence": "",
    "digest": "m1x0Qm3QpKk0VYb8b4v0m3yq0h8t3q4mC7Yd0m1wq3I",
    "envelope": "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJkb3duc3RyZWFtIjoi….c2lnbmF0dXJl…",
}
_LISTED = {
    "identifier": "88.118.9/MODULE-2026-0042",
    "links": [
        {
            "upstream": "88.118.8/CELL-2026-000117",
            "downstream": "88.118.9/MODULE-2026-0042",
            "type": "CONTAINED_IN",
            "state": "proposed",
            "quantity": {"value": "12", "unit": "H87"},
            "lifecycle": "asBuilt",
            "asserted_by": ["downstream"],
            "link_key": _STATED["link_key"],
            "assertions": [_STATED["envelope"]],
        }
    ],
    "next": None,
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "examples": {
                    "draft": {"summary": "signed with the hosted key", "value": _DRAFT},
                    "withdraw": {
                        "summary": "take it back",
                        "value": {**_DRAFT, "state": "withdrawn"},
                    },
                    "envelope": {
                        "summary": "signed by the client",
                        "value": {"envelope": _STATED["envelope"]},
                    },
                },
            }
        },
    }
}
_BATCH = {
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {
                "schema": {"type": "string"},
                "example": f'{json.dumps(_DRAFT)}\n{{"envelope": "{_STATED["envelope"]}"}}\n',
            }
        },
    }
}
_RESULTS = (
    f'{{"line":1,"link_key":"{_STATED["link_key"]}","side":"downstream","status":201,'
    '"version":1,"state":"asserted","link_state":"proposed"}\n'
    '{"line":2,"title":"Verification failed","status":400,"code":"E_SIG",'
    '"detail":"signature does not verify"}\n'
)


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    direction: Literal["upstream", "downstream"] | None = Field(
        None, description="only links whose far end lies there"
    )
    type: str | None = Field(None, description="only links of this type", max_length=32)
    purpose: str = Field(
        "",
        pattern=f"^({PURPOSE.pattern})?$",
        description="what it is asked for, where a grant opens links for that alone",
    )
    cursor: str | None = Field(None, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/links",
    status_code=201,
    summary="Assert or withdraw one side of a link",
    responses={
        201: answer("asserted for the first time", _STATED),
        200: answer("a new version, or the same content as before", _STATED),
        **problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 503),
    },
    openapi_extra=_BODY,
)
async def state(request: Request, tx: Write, caller: CallerDep, deps: DepsDep) -> JSONResponse:
    """State what one end says of a link: an envelope, or a draft for the hosted key."""
    now = deps.clock()
    offer = assertions.read_offer(await read_object(request), now)
    stated = await links.state_one(tx, deps.keyring, caller, offer, now)
    return JSONResponse(view(stated), status_of(stated))


@router.post(
    "/v1/links/batch",
    summary="Assert and withdraw many, a line each",
    responses={
        200: {
            "description": "a result for each line, in order",
            "content": {NDJSON: {"schema": {"type": "string"}, "example": _RESULTS}},
        },
        **problems(401, 503),
    },
    openapi_extra=_BATCH,
)
async def batch(caller: StreamCaller, deps: DepsDep) -> Response:
    """Stream lines in and results out; each line is a body of POST /v1/links.

    A line that is refused loses no other. Lines are written in chunks, in order.
    """
    return Exchange(LinkBatch(deps.store, deps.keyring, caller, deps.clock))


@router.get(
    "/v1/links/{prefix}/{suffix:path}",
    summary="List the links of an identifier",
    responses={200: answer("a page, in key order", _LISTED), **problems(400, 401, 403, 503)},
    dependencies=[StrictQuery],
)
async def listing(
    request: Request,
    prefix: str,  # noqa: ARG001  (of the raw path, as is the suffix)
    suffix: str,  # noqa: ARG001
    tx: Read,
    *,
    caller: MaybeCaller,
    query: Annotated[PageQuery, Query()],
) -> JSONResponse:
    """List what stands, as both ends state it, with the envelopes to check it by.

    Everybody is shown what a grant opens to all, a caller also what ends in his own prefix or is
    opened to him.
    """
    near = path_identifier(request, "/v1/links/")
    after = links.START if query.cursor is None else _read_cursor(query.cursor)
    page = await links.listing(
        tx,
        near,
        direction=query.direction,
        kind=query.type,
        after=after,
        limit=query.limit,
        viewer=Viewer(None if caller is None else caller.prefix, query.purpose),
    )
    return JSONResponse(
        {
            "identifier": near.text,
            "links": [_shown(item) for item in page.links],
            "next": None if page.after is None else b64encode(canonical.encode(page.after)),
        }
    )


def view(stated: Stated) -> JsonObject:
    """Return what one side states as the API shows it."""
    said = stated.assertion
    return {
        "link_key": stated.link_key,
        "side": said.side,
        "version": said.version,
        "state": said.state,
        "link_state": stated.link_state,
        "upstream": said.link.upstream.text,
        "downstream": said.link.downstream.text,
        "type": said.link.type,
        "lifecycle": said.link.lifecycle,
        "occurrence": said.link.occurrence,
        "digest": stated.digest,
        "envelope": stated.envelope,
    }


def status_of(stated: Stated) -> int:
    """Return 201 where a side spoke for the first time, else 200."""
    return 201 if stated.created else 200


def _shown(item: Shown) -> JsonObject:
    shown = edge_view(item.link, item.assertions)
    return {**shown, "link_key": item.link_key, "assertions": list(item.envelopes)}


def _read_cursor(text: str) -> tuple[str, ...]:
    try:
        place = canonical.decode(b64decode(text))
    except TierlinkError as err:
        raise _bad_cursor(text) from err
    if not isinstance(place, list) or len(place) != len(links.START):
        raise _bad_cursor(text)
    words = tuple(word for word in place if isinstance(word, str) and "\0" not in word)
    if len(words) != len(links.START):
        raise _bad_cursor(text)
    return words


def _bad_cursor(text: str) -> BadQuery:
    return BadQuery("not a cursor of this list", value=text, fix="send back `next`")
