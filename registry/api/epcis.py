"""/v1/epcis: capture of EPCIS 2.0 events (JSON-LD), and what became of it.

Names and headers are those of the REST bindings of EPCIS 2.0 (§12). A capture is finished when its
answer leaves: 202 with `Location` because the standard says so, with the job as the body.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from registry import epcis
from registry.api.deps import CallerDep, DepsDep, Read, StreamCaller, StrictQuery
from registry.api.openapi import answer, problems
from registry.epcis import Capture, Manner
from schemas.epcis.document import MAX_EVENTS
from schemas.epcis.jsonld import MAX_BYTES
from schemas.errors import BadInput, NotAcceptable, TooLarge, Unsupported

MAX_PAGE = 100
PATH = "/v1/epcis/capture"
LD_JSON = "application/ld+json"
VERSION = "2.0.0"

router = APIRouter(tags=["epcis"])

_HEADERS = {
    "GS1-EPCIS-Version": VERSION,
    "GS1-CBV-Version": VERSION,
    "GS1-EPC-Format": "Never_Translates",
}
_LIMITS = {
    **_HEADERS,
    "GS1-EPCIS-Min": VERSION,
    "GS1-EPCIS-Max": VERSION,
    "GS1-EPCIS-Capture-Limit": str(MAX_EVENTS),
    "GS1-EPCIS-Capture-File-Size-Limit": str(MAX_BYTES),
    "GS1-Capture-Error-Behaviour": epcis.ROLLBACK,
}
_SPOKEN = frozenset({"2.0", "2.0.0", "2.0.1"})

_DOCUMENT = {
    "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    "type": "EPCISDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-11-18T10:13:20Z",
    "epcisBody": {
        "eventList": [
            {
                "type": "AggregationEvent",
                "eventTime": "2026-11-18T10:13:00+08:00",
                "eventTimeZoneOffset": "+08:00",
                "action": "ADD",
                "bizStep": "assembling",
                "parentID": "https://id.example/88.118.9/MODULE-2026-0042",
                "childEPCs": ["https://id.example/88.118.8/CELL-2026-000117"],
            }
        ]
    },
}
_HASH = "ni:///sha-256;5f7c472bc4905de27a19b2efc8e4a9c6dc195139669b80b515f12218ff07cf65?ver=CBV2.0"
_JOB = {
    "captureID": "006afc5f0a8-7c9e6679f7425de944be",
    "createdAt": "2026-11-18T10:13:20Z",
    "finishedAt": "2026-11-18T10:13:20Z",
    "running": False,
    "success": True,
    "captureErrorBehaviour": "rollback",
    "errors": [],
    "events": {"captured": 1, "known": 0, "corrected": 0, "refused": 0, "dropped": 0},
    "outcomes": [{"event": 0, "outcome": "captured", "links": 1, "hash": _HASH}],
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {media: {"example": _DOCUMENT} for media in ("application/json", LD_JSON)},
    }
}


class CaptureQuery(BaseModel):
    """How GS1 keys are read."""

    model_config = ConfigDict(extra="forbid")

    check_digits: Literal["strict", "lenient"] = Field(
        "strict", description="lenient takes GS1 keys whose check digit is wrong"
    )


class PageQuery(BaseModel):
    """Which page of the list, in the words of EPCIS 2.0."""

    model_config = ConfigDict(extra="forbid")

    perPage: int = Field(30, ge=1, le=MAX_PAGE)  # noqa: N815  (the standard's name)
    nextPageToken: str | None = Field(None, max_length=64)  # noqa: N815


@router.post(
    PATH,
    status_code=202,
    summary="Capture EPCIS 2.0 events: statements of links, with the events as evidence",
    responses={
        202: answer("what became of each event; `Location` says where it stays", _JOB),
        **problems(400, 401, 403, 406, 409, 413, 415, 503),
    },
    openapi_extra=_BODY,
    dependencies=[StrictQuery],
)
async def capture(
    request: Request,
    caller: StreamCaller,
    deps: DepsDep,
    query: Annotated[CaptureQuery, Query()],
    behaviour: Annotated[
        str, Header(alias="GS1-Capture-Error-Behaviour", description="rollback or proceed")
    ] = epcis.ROLLBACK,
) -> Response:
    """Turn events into statements of the caller's sides of links, signed with his hosted key."""
    if behaviour not in {epcis.ROLLBACK, epcis.PROCEED}:
        raise BadInput(
            "GS1-Capture-Error-Behaviour is neither rollback nor proceed",
            value=behaviour,
            fix="leave it out: rollback is the default",
        )
    _check_versions(request)
    manner = Manner(behaviour, query.check_digits == "lenient")
    raw = await _read(request)
    job = await Capture(deps.store, deps.keyring, caller, deps.clock, manner).run(raw)
    headers = {**_HEADERS, "Location": f"{PATH}/{job.id}", "Cache-Control": "no-store"}
    return JSONResponse(job.report, 202, headers)


@router.options(PATH, summary="What a capture may be", status_code=204)
async def options() -> Response:
    """Tell of versions and limits, in the headers that EPCIS 2.0 has for it."""
    return Response(status_code=204, headers={**_LIMITS, "Allow": "GET, POST, OPTIONS"})


@router.get(
    PATH,
    summary="List one's captures",
    responses={
        200: answer("newest first; `Link: rel=next` where more follow", [_JOB]),
        **problems(400, 401, 503),
    },
    dependencies=[StrictQuery],
)
async def captures(caller: CallerDep, tx: Read, query: Annotated[PageQuery, Query()]) -> Response:
    """List the captures of the caller's prefix, without their outcomes."""
    page, after = await epcis.jobs(tx, caller, query.nextPageToken, query.perPage)
    headers = dict(_HEADERS)
    if after is not None:
        target = f"{PATH}?perPage={query.perPage}&nextPageToken={after}"
        headers["Link"] = f'<{target}>; rel="next"'
    return JSONResponse(page, headers=headers)


@router.get(
    PATH + "/{capture_id}",
    summary="Show a capture",
    responses={200: answer("with the outcome of each event", _JOB), **problems(401, 404, 503)},
)
async def captured(capture_id: str, caller: CallerDep, tx: Read) -> Response:
    """Show what became of a capture, to who made it."""
    return JSONResponse(await epcis.job(tx, caller, capture_id), headers=_HEADERS)


@router.get(
    "/v1/epcis/events/{hash:path}",
    summary="Show a captured event by its hash",
    responses={
        200: answer("as it was captured", _DOCUMENT["epcisBody"], LD_JSON),
        **problems(400, 401, 404, 503),
    },
)
async def captured_event(
    hash: str,  # noqa: A002  (the name in the path)
    caller: CallerDep,
    tx: Read,
) -> Response:
    """Show an event to who captured it; to nobody else, for it may hold what is not public."""
    body = await epcis.event(tx, caller, hash)
    return Response(body, headers={**_HEADERS, "Cache-Control": "no-store"}, media_type=LD_JSON)


def _check_versions(request: Request) -> None:
    for name in ("GS1-EPCIS-Version", "GS1-CBV-Version"):
        wanted = request.headers.get(name)
        if wanted is not None and wanted not in _SPOKEN:
            raise NotAcceptable(f"{name} is not spoken here", value=wanted, fix=f"send {VERSION}")


async def _read(request: Request) -> bytes:
    """Read the body, bounded; raise Unsupported or TooLarge."""
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence not in {"application/json", LD_JSON}:
        raise Unsupported(
            "events are captured as JSON-LD",
            value=essence or None,
            fix=f"send Content-Type: {LD_JSON}",
        )
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise TooLarge(
                f"the document has more than {MAX_BYTES} bytes",
                value=MAX_BYTES,
                fix="send it in parts",
            )
    return bytes(body)
