"""/docs: the OpenAPI document as a page of our own: no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

DESCRIPTION = """\
Prefixes, identifiers and links of tierlink: allocate, register, link.

Everything public is read without a key. Writes take `Authorization: Bearer <API key>`, where an
API key speaks for one prefix, and an optional `Idempotency-Key`. Bodies are JSON of at most 128
KiB, batches NDJSON of any length. A refusal is `application/problem+json` with a stable `code`.
"""

router = APIRouter(include_in_schema=False)

_HERE = Path(__file__).parent


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Render the document."""
    page, style_hash = _render(request.app.openapi())
    return HTMLResponse(
        page,
        headers={
            "content-security-policy": f"default-src 'self'; style-src 'sha256-{style_hash}'; "
            "script-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "cache-control": "no-cache",
        },
    )


def _render(document: dict[str, Any]) -> tuple[str, str]:
    style = (_HERE / "docs.css").read_text()
    page = (
        _environment()
        .get_template("docs.html")
        .render(
            document=document,
            operations=_operations(document),
            schemas=document["components"]["schemas"],
            style=Markup(style),  # noqa: S704  (a file of ours)
        )
    )
    return page, base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return environment


def _operations(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Group by tag, in the order of the routers."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(
                {"path": path, "method": method.upper(), **_shown(operation, document)}
            )
    return groups


def _shown(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "id": operation["operationId"],
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "secured": "security" in operation,
        "parameters": operation.get("parameters", []),
        "bodies": [_media(name, media, document) for name, media in body.items()],
        "responses": [
            {
                "status": status,
                "description": response.get("description", ""),
                "media": [
                    _media(name, media, document)
                    for name, media in response.get("content", {}).items()
                ],
            }
            for status, response in operation["responses"].items()
        ],
    }


def _media(name: str, media: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return one media type with its schema's name and examples, wherever they are declared."""
    reference = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"].get(reference, media.get("schema", {}))
    examples = [media["example"]] if "example" in media else []
    examples += [item["value"] for item in media.get("examples", {}).values() if "value" in item]
    return {"type": name, "schema": reference, "examples": examples or schema.get("examples", [])}
