"""From a reading to finished answers: one function per representation, all of them pure.

    json      the plain members and the evidence (wire.md §7)    application/json
    jose      the envelope alone, where it is a compact JWS      application/jose
    linkset   the targets, by relation (RFC 9264)                application/linkset+json
    html      a page for people                                  text/html
    307       to one target, where a link type is asked for

Whatever is refused is a problem document (RFC 9457), or a page where a page was asked for.
A body depends on the reading alone: no clock, no host. So it may be kept, and its entity tag
is the version and the hash of the body.
"""

from __future__ import annotations

import enum
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from schemas.answer import Resolved, compose, targets
from schemas.canonical import JsonObject
from schemas.errors import (
    IdentifierNotFound,
    NotAcceptable,
    PrefixNotFound,
    PrefixSuspended,
    Retired,
    Suspended,
    TargetNotFound,
    TierlinkError,
    Unavailable,
)
from schemas.evidence import LogProof
from schemas.identifier import Prefix
from schemas.record import SUSPENDED
from schemas.signed import is_compact
from schemas.source import State

from .answers import Answer, Head, boottime
from .audience import shown
from .labels import EN, ZH
from .page import Pages
from .reading import ANSWERED, Reading, Refers


class Form(enum.IntEnum):
    """A representation; also the variant under which its answers are kept.

    HTML is in two languages, hence two variants.
    """

    JSON = 1
    JOSE = 2
    LINKSET = 3
    HTML_EN = 4
    HTML_ZH = 5

    @property
    def language(self) -> str:
        """The language of a page."""
        return ZH if self is Form.HTML_ZH else EN

    @property
    def page(self) -> bool:
        """Tell whether people read it."""
        return self >= Form.HTML_EN


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of an identifier.

    `languages` are ranges in order of preference, lower case; they choose among targets. `caller`
    is the organisation that asks, where it says who it is, and `purpose` what for.
    """

    form: Form = Form.JSON
    link_type: str | None = None
    languages: tuple[str, ...] = ()
    proof: bool = True
    full: bool = False  # with what the log says
    caller: Prefix | None = None
    recursive: bool = True  # whether other nodes are asked
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished answer, and whether the next one who asks for target and form may have it."""

    answer: Answer
    keep: bool = True


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_EVERY = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"age, etag, link, location, tierlink-stale"),
    (b"x-content-type-options", b"nosniff"),
)
_CACHED = (b"cache-control", b"public, max-age=0, must-revalidate")
_NOT_CACHED = (b"cache-control", b"no-store")
_BY_ACCEPT = (b"vary", b"accept")
_BY_LANGUAGE = (b"vary", b"accept, accept-language")


class Renderer:
    """Makes answers; holds what they share."""

    def __init__(
        self,
        pages: Pages,
        *,
        public_url: str = "",
        stale_for: int = 0,
        clock: Callable[[], float] = boottime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pages = pages
        self._public_url = public_url
        self._stale_for = stale_for
        self._clock = clock
        self._wall = wall
        self._json = Head(200, _headers(b"application/json"))
        self._jose = Head(200, _headers(b"application/jose"))
        self._linkset = Head(200, _headers(b"application/linkset+json"))
        self._redirect = Head(307, [_CACHED, _BY_ACCEPT, *_EVERY])
        self._redirect_by_language = Head(307, [_CACHED, _BY_LANGUAGE, *_EVERY])
        self._page = {form: Head(200, self._page_headers(form)) for form in Form if form.page}
        self._problems: dict[tuple[int, Form, bool], Head] = {}

    def _page_headers(self, form: Form) -> list[tuple[bytes, bytes]]:
        return [
            *_headers(b"text/html; charset=utf-8", vary=_BY_LANGUAGE),
            (b"content-language", form.language.encode()),
            (b"content-security-policy", self._pages.policy),
            (b"referrer-policy", b"no-referrer"),
        ]

    # What was found

    def answer(
        self,
        reading: Reading,
        wanted: Wanted,
        tags: Sequence[bytes],
        log: LogProof | None = None,
    ) -> Rendered:
        """Render what a reading says to a request; `log` is what the log says of it, if asked."""
        reading = shown(reading, wanted.caller)
        error = refusal(reading)
        if reading.refers is not None:
            return Rendered(self._referred(reading, reading.refers, tags))
        if error is not None:
            return Rendered(self._refused(error, reading, wanted.form, tags))
        if wanted.link_type is not None:
            return self._sent_on(reading, wanted, wanted.link_type, tags)
        if wanted.form is Form.JOSE and not is_compact(reading.records[0]):
            return Rendered(self._refused(_not_jose(reading), reading, wanted.form, tags))
        assert reading.parts is not None
        version = reading.parts.records[0].version
        head, body = self._represented(reading, wanted, log)
        return Rendered(
            self._answer(
                head,
                body,
                reading,
                tags,
                fields=self._links_to_others(reading, wanted.form),
                etag=b'"%d.%s"' % (version, hashlib.sha256(body).hexdigest()[:16].encode()),
            ),
            keep=log is None,  # the next checkpoint makes it another, and no change tells of that
        )

    def _referred(self, reading: Reading, refers: Refers, tags: Sequence[bytes]) -> Answer:
        """Say which node to ask, in JSON whatever was asked for: it is not what was asked for."""
        body = encode(referral(reading, refers))
        etag = b'"r.%s"' % hashlib.sha256(body).hexdigest()[:16].encode()
        return self._answer(self._json, body, reading, tags, etag=etag)

    def _represented(
        self, reading: Reading, wanted: Wanted, log: LogProof | None
    ) -> tuple[Head, bytes]:
        if wanted.form.page:
            page = self._pages.record(reading, wanted.form.language, int(self._wall()))
            return self._page[wanted.form], page
        if wanted.form is Form.JOSE:
            return self._jose, reading.records[0].encode()
        if wanted.form is Form.LINKSET:
            return self._linkset, encode(linkset(reading, self._public_url))
        return self._json, encode(document(reading, proof=wanted.proof, log=log))

    def _links_to_others(self, reading: Reading, form: Form) -> list[tuple[bytes, bytes]]:
        """Say where the targets stand as a linkset (RFC 9264 §5), where they are not shown so."""
        if form is Form.LINKSET:
            return []
        path = reading.identifier.path.encode()
        link = b'</%s?format=linkset>; rel="linkset"; type="application/linkset+json"' % path
        return [(b"link", link)]

    def _sent_on(
        self, reading: Reading, wanted: Wanted, link_type: str, tags: Sequence[bytes]
    ) -> Rendered:
        try:
            chosen, by_language = choose(reading, link_type, wanted.languages)
        except TierlinkError as err:
            # Anybody may make up link types without end, so that there is none is not kept.
            return Rendered(
                self._refused(err, reading, wanted.form, tags), keep=isinstance(err, Suspended)
            )
        answer = self._answer(
            self._redirect_by_language if by_language else self._redirect,
            b"",
            reading,
            tags,
            fields=[(b"location", chosen.target.href.encode())],
        )
        return Rendered(answer, keep=not by_language)

    def _answer(
        self,
        head: Head,
        body: bytes,
        reading: Reading,
        tags: Sequence[bytes],
        *,
        fields: Sequence[tuple[bytes, bytes]] = (),
        etag: bytes = b"",
    ) -> Answer:
        now = self._wall()
        turn = reading.turns_at(int(now))
        turns = inf if turn is None else self._clock() + (turn - now)
        return Answer(
            head,
            body,
            fields=fields,
            etag=etag,
            tags=tags,
            filled=reading.watermark.position,
            expires=min(turns, reading.expires_at),
            stale_for=0 if reading.strict else self._stale_for,
        )

    # What is refused

    def _refused(
        self, error: TierlinkError, reading: Reading, form: Form, tags: Sequence[bytes]
    ) -> Answer:
        body = self._problem_body(error, form, reading)
        return self._answer(self._problem_head(error.status, form, kept=True), body, reading, tags)

    def problem(
        self,
        error: TierlinkError,
        form: Form = Form.JSON,
        fields: Sequence[tuple[bytes, bytes]] = (),
    ) -> Answer:
        """Render an error that is about the request or the moment, not about what is known."""
        if isinstance(error, Unavailable):
            fields = [*fields, (b"retry-after", b"%d" % error.retry_after)]
        head = self._problem_head(error.status, form, kept=False)
        return Answer(head, self._problem_body(error, form, None), fields=fields)

    def _problem_head(self, status: int, form: Form, *, kept: bool) -> Head:
        key = (status, form if form.page else Form.JSON, kept)
        head = self._problems.get(key)
        if head is None:
            head = self._problems[key] = Head(status, self._problem_headers(form, kept=kept))
        return head

    def _problem_headers(self, form: Form, *, kept: bool) -> list[tuple[bytes, bytes]]:
        headers = self._page_headers(form) if form.page else _headers(b"application/problem+json")
        return headers if kept else [_NOT_CACHED, *(pair for pair in headers if pair != _CACHED)]

    def _problem_body(self, error: TierlinkError, form: Form, reading: Reading | None) -> bytes:
        if form.page:
            return self._pages.problem(error, reading, form.language)
        body = error.problem()
        if reading is not None and reading.state is State.RETIRED and reading.records:
            body["envelope"] = reading.records[0]
        return encode(body)

    def welcome(self, form: Form) -> Answer:
        """Render the start page."""
        return Answer(self._page[form], self._pages.welcome(form.language))


def _headers(
    media_type: bytes, vary: tuple[bytes, bytes] = _BY_ACCEPT
) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", media_type), _CACHED, vary, *_EVERY]


def encode(document: object) -> bytes:
    """Return compact JSON, its members in their order."""
    return _encoder.encode(document).encode()


def refusal(reading: Reading) -> TierlinkError | None:
    """Return the error that a state means, None where it is an answer."""
    if reading.state in ANSWERED:
        return None
    text, prefix = reading.identifier.text, reading.identifier.prefix
    if reading.state is State.RETIRED:
        return Retired("the holder retired this identifier; it is never issued again", value=text)
    if reading.state is State.PREFIX_SUSPENDED:
        return PrefixSuspended(
            f"the prefix {prefix}, or one above it, is suspended",
            value=text,
            fix="ask whoever allocated the prefix",
        )
    if reading.state in {State.FOREIGN, State.NOWHERE}:
        return PrefixNotFound(
            f"no prefix is allocated here that holds {prefix}",
            value=text,
            fix="check the digits before the slash",
        )
    return IdentifierNotFound(
        "nobody registered this identifier, and no class rule covers it",
        value=text,
        fix="check the code character by character; letters count as written",
    )


def _not_jose(reading: Reading) -> NotAcceptable:
    """Build the refusal of what no JOSE library could read (ADR 15)."""
    return NotAcceptable(
        "the record is not signed as one compact JWS: it stands under a batch statement, "
        "or has several signatures",
        value=reading.identifier.text,
        fix="accept application/json, whose member envelope is the record as it is signed",
    )


def document(reading: Reading, *, proof: bool, log: LogProof | None = None) -> JsonObject:
    """Return the JSON answer: what the parts compose to, and the parts."""
    assert reading.parts is not None
    view = compose(reading.parts)
    view["envelope"] = reading.records[0]
    if reading.disclosures:
        view["disclosures"] = list(reading.disclosures)
    if reading.notices:
        view["notices"] = list(reading.notices)
    if proof:
        parts: JsonObject = {
            "chain": list(reading.delegations),
            "records": list(reading.records[1:]),
            "links": list(reading.assertions),
        }
        view["proof"] = parts if log is None else {**parts, "log": log.to_json()}
    return view


def referral(reading: Reading, refers: Refers) -> JsonObject:
    """Return what a node says that asks no other: which to ask, and the chain that says so."""
    return {
        "identifier": reading.identifier.text,
        "referral": {"prefix": str(refers.prefix), "node": refers.node},
        "proof": {"chain": list(reading.delegations)},
    }


def linkset(reading: Reading, public_url: str) -> JsonObject:
    """Return the targets as a linkset document (RFC 9264 §4.2): one context, by relation."""
    assert reading.parts is not None
    context: JsonObject = {"anchor": f"{public_url}/{reading.identifier.path}"}
    for item in targets(reading.parts):
        listed = context.setdefault(item.target.rel, [])
        assert isinstance(listed, list)
        listed.append(_linkset_target(item))
    return {"linkset": [context]}


def _linkset_target(item: Resolved) -> JsonObject:
    target = item.target
    view: JsonObject = {"href": target.href}
    if target.media_type:
        view["type"] = target.media_type
    if target.title:
        view["title"] = target.title
    if target.title and target.hreflang:
        view["title*"] = [{"value": target.title, "language": target.hreflang}]
    if target.hreflang:
        view["hreflang"] = [target.hreflang]
    return view


def choose(reading: Reading, link_type: str, languages: Sequence[str]) -> tuple[Resolved, bool]:
    """Return the target to send somebody on to, and whether the language decided.

    Raises Suspended, and TargetNotFound where there is none that a browser may be sent to.
    """
    assert reading.parts is not None
    if reading.parts.records[0].status == SUSPENDED:
        raise Suspended(
            "the record is suspended, so nobody is sent on to its targets",
            value=reading.identifier.text,
            fix="leave out linkType to read the record",
        )
    known = targets(reading.parts)
    fitting = [item for item in known if item.target.rel == link_type]
    usable = [item for item in fitting if item.target.redirectable]
    if not usable:
        raise _no_target(link_type, known, fitting)
    if len({item.target.hreflang for item in usable}) == 1:
        return usable[0], False
    for wanted in languages:
        for item in usable:
            if _speaks(item.target.hreflang.lower(), wanted):
                return item, True
    return usable[0], True


def _speaks(tag: str, wanted: str) -> bool:
    """Match as RFC 4647 §3.4 looks up, in both directions: `zh` and `zh-CN` serve each other."""
    if not tag or wanted == "*":
        return wanted == "*"
    return tag == wanted or tag.startswith(f"{wanted}-") or wanted.startswith(f"{tag}-")


def _no_target(
    link_type: str, known: Sequence[Resolved], fitting: Sequence[Resolved]
) -> TargetNotFound:
    if fitting:
        return TargetNotFound(
            f"the {link_type} target is {fitting[0].target.href}, where no browser can be sent",
            value=link_type,
            fix="leave out linkType and read href from the targets",
        )
    others = sorted({item.target.rel for item in known if item.target.redirectable})
    return TargetNotFound(
        f"the record has no target of link type {link_type}"[:200],
        value=link_type,
        fix=f"it has: {', '.join(others)}"[:400] if others else "it has no targets",
    )
