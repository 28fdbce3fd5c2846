"""The OpenAPI document: what FastAPI derives, and what it cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from registry.api.problems import MEDIA_TYPE
from schemas import errors
from schemas.api import Problem
from schemas.errors import TierlinkError

_REF = "#/components/schemas/Problem"
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
# Streams and reads have nothing to repeat, and an event is captured once by its hash.
_NO_KEY = ("/batch", "/v1/source", "/v1/source/edges", "/v1/epcis/capture")

_EXAMPLES: Mapping[int, TierlinkError] = {
    400: errors.BadIdentifier(
        "the prefix has an empty label", value="88..8", position=3, fix="remove the extra dot"
    ),
    401: errors.Unauthenticated("the API key has expired", fix="ask for a new one"),
    403: errors.Forbidden("the API key is for 88.118.8, not for 88.118.9", value="88.118.9"),
    404: errors.PrefixNotFound("nobody was allocated 88.118.9", value="88.118.9"),
    406: errors.NotAcceptable("GS1-EPCIS-Version is not spoken here", value="1.2"),
    409: errors.Conflict("88.118.8 is allocated already", value="88.118.8", code="prefix_taken"),
    410: errors.Retired("88.118.8/A-1 was retired", value="88.118.8/A-1"),
    412: errors.VersionStale("version 3 stands", value=2, fix="read it again"),
    413: errors.TooLarge("the body has more than 131072 bytes", value=131072),
    415: errors.Unsupported("the body is not declared as JSON", value="text/plain"),
    428: errors.PreconditionRequired("an update says what it replaces", fix="send If-Match"),
    503: errors.Unavailable("the database does not answer"),
}


def answer(description: str, example: object, media: str = "application/json") -> dict[str, Any]:
    """Describe an answer by an example."""
    return {"description": description, "content": {media: {"example": example}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declare the refusals of a route, each a problem document."""
    return {
        status: {
            "description": _EXAMPLES[status].title,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": _REF},
                    "example": _EXAMPLES[status].problem(),
                }
            },
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Complete the document when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # 422 is never sent
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    components["securitySchemes"] = {
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "tierlink_live_<id>_<secret>",
        }
    }
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                _complete_operation(path, method, item[method])
    return document


def _complete_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    if "401" not in responses:
        return
    operation["security"] = [{"apiKey": []}]
    if method != "get" and not path.endswith(_NO_KEY):
        operation.setdefault("parameters", []).append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "done once however often it is sent: the same answer comes again, "
                "marked Idempotency-Replayed; 409 idempotency_conflict for another request",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
            }
        )
