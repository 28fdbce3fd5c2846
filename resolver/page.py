"""The HTML pages: what a person sees who scanned a code.

No script, no outside resource, everything escaped. The style sheet stands inside the page and its
hash in the Content-Security-Policy, so a page works on a bad line with one request.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from schemas.answer import Parts, Resolved, compose, targets
from schemas.canonical import JsonObject
from schemas.delegation import within
from schemas.envelope import RECORD
from schemas.errors import TierlinkError
from schemas.identifier import Identifier
from schemas.record import Record
from schemas.signed import parse

from .labels import BY_LANGUAGE, EN, Labels
from .reading import Reading

MakeQr = Callable[[str], str]

_TITLES = ("title", "name")
_FORMATS = {  # what people call a media type; a page needs no name
    "text/html": "",
    "application/pdf": "PDF",
    "application/json": "JSON",
    "application/ld+json": "JSON-LD",
    "application/xml": "XML",
    "text/csv": "CSV",
}
_TONES = {"suspended": "suspended", "retired": "retired", "prefix_suspended": "refused"}


def qr_maker() -> MakeQr | None:
    """Return what draws a QR code as inline SVG, None where the library is not installed."""
    try:
        import segno  # noqa: PLC0415  (optional: comes with the extra `server`)
    except ImportError:
        return None
    return lambda text: segno.make(text, error="m", micro=False).svg_inline(
        border=0, omitsize=True, lineclass=None, svgclass=None
    )


class Pages:
    """Renders pages; `public_url` is where people reach this node, empty where unknown."""

    def __init__(self, public_url: str = "", qr: MakeQr | None = None) -> None:
        self._public_url = public_url
        self._qr = qr
        folder = files(__package__) / "templates"
        css = (folder / "page.css").read_text(encoding="utf-8").replace("\n", "")
        environment = Environment(
            loader=PackageLoader("resolver"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["readable"] = readable
        environment.filters["plain"] = plain
        environment.filters["path"] = _path_of
        environment.globals["css"] = Markup(css)  # noqa: S704  (our own file)
        self._record = environment.get_template("record.html")
        self._problem = environment.get_template("problem.html")
        self._welcome = environment.get_template("welcome.html")
        digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
        self.policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ).encode()

    def record(self, reading: Reading, language: str, now: int) -> bytes:
        """Render what an identifier resolves to."""
        assert reading.parts is not None
        words = BY_LANGUAGE[language]
        view = compose(reading.parts)
        here = f"/{reading.identifier.path}"
        url = f"{self._public_url}{here}" if self._public_url else ""
        envelope = parse(reading.records[0], RECORD)
        titles, attributes = split_titles(reading.parts, language)
        page = self._record.render(
            t=words,
            view=view,
            covered=reading.parts.covered,
            notices=reading.parts.notices,
            title=titles[0] if titles else "",
            others=titles[1:],
            attributes=attributes,
            targets=_listed(reading.parts, words),
            validity=_validity(reading.parts.records[0], now),
            holder=_holder(reading, words),
            key=envelope.kid,
            here=here,
            url=url,
            qr=Markup(self._qr(url)) if self._qr and url else None,  # noqa: S704  (digits of a path)
        )
        return page.encode()

    def problem(self, error: TierlinkError, reading: Reading | None, language: str) -> bytes:
        """Render a refusal, with the facts of the tombstone where there is one."""
        words = BY_LANGUAGE[language]
        page = self._problem.render(
            t=words,
            tone=_TONES.get(error.code, "unknown"),
            badge=error.status,
            heading=words.headings.get(error.code, error.title),
            value=error.value if isinstance(error.value, str) else None,
            # What has no translation is told in English: the detail is for whoever mends it.
            lead=words.leads.get(error.code, _sentence(error.detail)),
            fix=None if error.code in words.leads or not error.fix else _sentence(error.fix),
            facts=_tombstone(reading, words),
            here=f"/{reading.identifier.path}" if reading is not None else None,
        )
        return page.encode()

    def welcome(self, language: str) -> bytes:
        """Render the start page, which asks for an identifier."""
        return self._welcome.render(t=BY_LANGUAGE[language]).encode()


def readable(moment: str) -> str:
    """Write an RFC 3339 time as people do; what is none (beyond the calendar), as it is."""
    try:
        parsed = dt.datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return parsed.strftime("%Y-%m-%d %H:%M UTC")


def _path_of(identifier: str) -> str:
    return f"/{Identifier.parse(identifier).path}"


def split_titles(parts: Parts, language: str) -> tuple[list[str], JsonObject]:
    """Return the titles that the holder gave, the nearest language first, and what is left.

    A title is a member `title` or `name`: text, or an object of texts by language tag. A thing
    without one is called what its class or batch is called.
    """
    attributes = attributes_of(parts)
    for name in _TITLES:
        texts = _by_language(attributes.get(name))
        if texts:
            left = {member: item for member, item in attributes.items() if member != name}
            return _in_order(texts, language), left
    for record in parts.records:
        for name in _TITLES:
            texts = _by_language(record.attributes.get(name))
            if texts:
                return _in_order(texts, language), attributes
    return [], attributes


def attributes_of(parts: Parts) -> JsonObject:
    """Return the attributes that an answer shows."""
    found = compose(parts)["attributes"]
    assert isinstance(found, dict)
    return found


def _by_language(given: object) -> dict[str, str]:
    if isinstance(given, str):
        return {"": given}
    if isinstance(given, Mapping) and all(isinstance(text, str) for text in given.values()):
        return {str(tag): str(text) for tag, text in given.items()}
    return {}


def _in_order(texts: Mapping[str, str], language: str) -> list[str]:
    def far(tag: str) -> tuple[bool, bool]:
        primary = tag.lower().partition("-")[0]
        return primary != language, primary != EN

    return list(dict.fromkeys(texts[tag] for tag in sorted(texts, key=far)))


def plain(name: str) -> str:
    """Write a member name as people do."""
    return name.replace("_", " ")


def _listed(parts: Parts, words: Labels) -> list[dict[str, object]]:
    """Return what the page shows of targets: what can be opened first."""
    listed = [_target(item, words) for item in targets(parts)]
    return sorted(listed, key=lambda target: not target["clickable"])


def _target(item: Resolved, words: Labels) -> dict[str, object]:
    target = item.target
    relation = words.relations.get(target.rel, target.rel)
    essence = target.media_type.partition(";")[0]
    about = [
        relation if target.title else "",
        urlsplit(target.href).netloc if target.redirectable else target.href,
        _FORMATS.get(essence, essence),
        target.hreflang,
        "" if target.redirectable else words.device,
    ]
    return {
        "href": target.href,
        "clickable": target.redirectable,
        "hreflang": target.hreflang,
        "type": target.media_type,
        "label": target.title or relation,
        "about": " · ".join(text for text in about if text),
        "symbol": _symbol(essence, clickable=target.redirectable),
    }


def _symbol(essence: str, *, clickable: bool) -> str:
    if not clickable:
        return "device"
    if essence.endswith(("json", "xml")):
        return "data"
    return "document" if essence == "application/pdf" else "open"


def _validity(record: Record, now: int) -> str | None:
    if within(now, record.valid_from, record.valid_until):
        return None
    return "late" if within(now, record.valid_from, None) else "early"


def _holder(reading: Reading, words: Labels) -> dict[str, object]:
    organisation = reading.holder.organisation if reading.holder else {}
    return {
        "prefix": str(reading.identifier.prefix),
        "name": organisation.get("name", ""),
        "numbers": [
            (label, organisation[member])
            for member, label in words.numbers.items()
            if member in organisation
        ],
    }


def _tombstone(reading: Reading | None, words: Labels) -> list[tuple[str, object]]:
    if reading is None or not reading.records or reading.parts is None:
        return []
    record = reading.parts.records[0]
    if record.status != "retired":
        return []
    view = compose(reading.parts)
    holder = _holder(reading, words)
    return [
        (words.signed_by, " ".join(str(holder[part]) for part in ("name", "prefix")).strip()),
        (words.key, parse(reading.records[0], RECORD).kid),
        (words.issued_at, readable(str(view["issued_at"]))),
        (words.version, record.version),
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "。")) else ".")
