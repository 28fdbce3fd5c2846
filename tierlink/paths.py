"""The paths that the registry of a node answers; everything else is the resolver's."""

from __future__ import annotations

from typing import Final

REGISTRY_PATHS: Final = (
    "/v1/prefixes",
    "/v1/challenges",
    "/v1/identifiers",
    "/v1/links",
    "/v1/grants",
    "/v1/notices",
    "/v1/proposals",
    "/v1/deliveries",
    "/v1/epcis",
    "/v1/trust",
    "/v1/roots",
    "/v1/log",
    "/v1/changes",
    "/v1/source",
    "/docs",
    "/openapi.json",
)
