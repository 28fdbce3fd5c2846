"""Targets: typed pointers from a record to platform data. Nothing here ever opens one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .claims import Members, without_empty

MAX_HREF = 2048
REDIRECTABLE = frozenset({"http", "https"})
_DEVICE = frozenset({"coap", "coaps", "mqtt", "mqtts", "amqp", "amqps", "ws", "wss", "opc.tcp"})
_OTHER = frozenset({"ftp", "ftps", "urn", "did", "mailto", "tel"})
SCHEMES = REDIRECTABLE | _DEVICE | _OTHER

_URI = re.compile(
    r"([a-z][a-z0-9+.\-]*):((?:[!#$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})*)"
)
_AUTHORITY = re.compile(r"//[^/?#@]+(?:[/?#]|$)")
_REL = re.compile(r"[a-z][a-z0-9.\-]*(?::[A-Za-z0-9._\-]+)?|https?://[!-~]+")
_NAME = r"[A-Za-z0-9!#$&^_.+\-]+"  # has no ";" and no "=", so that matching is linear
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:; ?{_NAME}=(?:{_NAME}|\"[ !#-\[\]-~]*\"))*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Target:
    """A pointer: relation (link type), href, media type, title, language of what it leads to."""

    rel: str
    href: str
    media_type: str = ""
    title: str = ""
    hreflang: str = ""

    @property
    def redirectable(self) -> bool:
        """Tell whether a browser may be sent there."""
        return self.href.partition(":")[0] in REDIRECTABLE

    def claims(self) -> dict[str, object]:
        """Return the signed members."""
        return without_empty(
            {
                "rel": self.rel,
                "href": self.href,
                "type": self.media_type,
                "title": self.title,
                "hreflang": self.hreflang,
            }
        )


def read_target(outer: Members, item: object, where: str) -> Target:
    """Read one target; raise the error type of `outer`."""
    members = outer.inner(item, where)
    href = members.text("href", MAX_HREF)
    target = Target(
        rel=check_rel(members, members.text("rel", 256)),
        href=check_href(members, href, href),
        media_type=check_media_type(members, members.maybe_text("type", 128) or ""),
        title=members.maybe_text("title", 256) or "",
        hreflang=check_hreflang(members, members.maybe_text("hreflang", 35) or ""),
    )
    members.done()
    return target


def check_href(members: Members, start: str, shown: str) -> str:
    """Accept an absolute URI of a known scheme, or its literal start where it is a template.

    For http and https the whole authority must be literal and free of user information, so that
    no serial can choose the host that a partner is sent to.
    """
    found = _URI.fullmatch(start)
    if not found or found[1] not in SCHEMES:
        raise members.fail(
            "href",
            f"is not an absolute URI with one of the schemes {', '.join(sorted(SCHEMES))}",
            shown,
        )
    if found[1] in REDIRECTABLE and not _AUTHORITY.match(found[2]):
        raise members.fail("href", "has no host, or user information before it", shown)
    if found[1] in REDIRECTABLE and start != shown and not re.match(r"//[^/?#]+[/?#]", found[2]):
        raise members.fail("href", "has a variable in its host", shown)
    return shown


def check_rel(members: Members, rel: str) -> str:
    """Accept a relation: a registered token, a compact name such as `gs1:pip`, or an http URI."""
    if not _REL.fullmatch(rel):
        raise members.fail("rel", "is not a link relation (token, name:token or URI)", rel)
    return rel


def check_media_type(members: Members, media_type: str) -> str:
    """Accept a media type (RFC 9110 §8.3.1) or nothing."""
    if media_type and not _MEDIA_TYPE.fullmatch(media_type):
        raise members.fail("type", "is not a media type", media_type)
    return media_type


def check_hreflang(members: Members, hreflang: str) -> str:
    """Accept a language tag (RFC 5646) or nothing."""
    if hreflang and not _LANGUAGE.fullmatch(hreflang):
        raise members.fail("hreflang", "is not a language tag", hreflang)
    return hreflang
