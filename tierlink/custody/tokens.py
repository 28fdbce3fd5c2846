"""Keys in hardware tokens and modules, by PKCS#11 (`python-pkcs11`, the extra `hsm`).

ES256 signs with CKM_ECDSA, which takes the digest and gives r‖s; Ed25519 with CKM_EDDSA, which
takes the message. A private key never leaves its token; the public key is the object beside it
with the same CKA_ID.

python-pkcs11 starts a module without asking it for locks of its own, so all calls of this process
go through one lock. A token is logged in to once, in a session that lives as long as the process:
PKCS#11 has one login for all sessions of an application, and closing ours would end theirs.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, SignMixin, TokenFlag

from schemas import der
from schemas.errors import BadInput, TierlinkError, VerifyError
from schemas.keys import ED25519, ES256, PublicKey, b64encode, p1363, sha256
from tierlink import keyfile

from .uri import KeyUri

MODULE = "TIERLINK_PKCS11_MODULE"
PIN = "TIERLINK_PKCS11_PIN"

_P256 = bytes.fromhex("06082a8648ce3d030107")
_EDWARDS = bytes.fromhex("06032b6570")  # RFC 8410
# What modules call the curve: by RFC 8410, by PKCS#11 2.40 (a printable string), by GnuPG's name.
_EDWARDS_NAMES = (_EDWARDS, b"\x13\x0cedwards25519", bytes.fromhex("06092b06010401da470f01"))

_CALLS = threading.RLock()
_sessions: dict[tuple[str, int], pkcs11.Session] = {}  # by module and slot; under the lock

_REFUSED_PIN = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinExpired)
_GONE = (
    pkcs11.DeviceRemoved,
    pkcs11.SessionClosed,
    pkcs11.SessionHandleInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.UserNotLoggedIn,
)


class TokenFailed(TierlinkError):
    """The token or its module does not do what it should."""

    code = "token_failed"
    title = "Token failed"


@contextmanager
def _calls(what: str, value: object) -> Iterator[None]:
    """Hold the lock, and translate what the module says."""
    with _CALLS:
        try:
            yield
        except pkcs11.PKCS11Error as err:
            raise TokenFailed(f"the token does not {what}: {_said(err)}", value=value) from err


def _said(err: Exception) -> str:
    return str(err) or type(err).__name__


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """A signer whose key is in a token. `sign` may be called from any thread; they take turns."""

    public: PublicKey
    _key: SignMixin
    _place: tuple[str, int]
    _name: str

    def sign(self, message: bytes) -> bytes:
        """Sign; raise TokenFailed where the token is gone or refuses."""
        with _calls("sign", self._name):
            try:
                if self.public.alg == ED25519:
                    return self._key.sign(message, mechanism=Mechanism.EDDSA)
                raw = self._key.sign(sha256(message), mechanism=Mechanism.ECDSA)
            except _GONE:
                _sessions.pop(self._place, None)  # whoever opens the key anew logs in anew
                raise
        return p1363(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))

    def __repr__(self) -> str:
        return f"TokenSigner({self._name!r}, {self.public.alg}, kid={self.public.kid!r})"


def open_signer(name: KeyUri, environ: Mapping[str, str]) -> TokenSigner:
    """Open a key in four steps; raise BadInput for what the caller can mend, else TokenFailed.

    1. the module; 2. the token, logged in; 3. the private key and the public one beside it;
    4. one signature, so that the two are known to belong together.
    """
    with _calls("open", name.text):
        place, session = _login(name, environ)
        private = _private(session, name)
        public = _public(session, private, name)
        signer = TokenSigner(public, private, place, name.text)
        proof = b"tierlink: does this key sign?"
        if not public.verifies(signer.sign(proof), proof):
            raise TokenFailed(
                "the token's private key does not fit the public key beside it", value=name.text
            )
        return signer


def generate(name: KeyUri, alg: str, environ: Mapping[str, str]) -> TokenSigner:
    """Make a key inside a token, never to be read out; `object` is its label, `id` may be given."""
    if alg not in (ED25519, ES256):
        raise VerifyError("E_ALG", "keys of this algorithm are not made in tokens", value=alg)
    if not name.label:
        raise BadInput(
            "the new key has no label", value=name.text, fix="add object=… to the PKCS#11 URI"
        )
    with _calls("make a key", name.text):
        _, session = _login(name, environ)
        if list(session.get_objects(_template(ObjectClass.PRIVATE_KEY, name))):
            raise BadInput(
                "a key of that name is there already",
                value=name.text,
                fix="choose another object=…; a key that is lost cannot be made again",
            )
        # A session of its own that may write; it did not log in, so its end logs nobody out.
        writing = session.token.open(rw=True)
        try:
            _make(writing, name.label, name.key or secrets.token_bytes(8), alg)
        finally:
            writing.close()
    return open_signer(name, environ)


def _make(session: pkcs11.Session, label: str, key: bytes, alg: str) -> None:
    kind, curve, mechanism = (
        (KeyType.EC_EDWARDS, _EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
        if alg == ED25519
        else (KeyType.EC, _P256, Mechanism.EC_KEY_PAIR_GEN)
    )
    curves = session.create_domain_parameters(kind, {Attribute.EC_PARAMS: curve}, local=True)
    curves.generate_keypair(
        id=key,
        label=label,
        store=True,
        mechanism=mechanism,
        capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _login(name: KeyUri, environ: Mapping[str, str]) -> tuple[tuple[str, int], pkcs11.Session]:
    module = name.module or environ.get(MODULE)
    if not module:
        raise BadInput(
            "no PKCS#11 module is named",
            value=name.text,
            fix=f"set {MODULE} to the library of the token, such as "
            "/usr/lib/softhsm/libsofthsm2.so",
        )
    if "/" in module:
        module = os.path.realpath(module)  # a module starts once, whatever it is called
    token = _token(module, name)
    place = (module, token.slot.slot_id)
    session = _sessions.get(place)
    if session is None:
        session = _sessions[place] = _session(token, _pin(name, environ), name)
    return place, session


def _token(module: str, name: KeyUri) -> pkcs11.Token:
    try:
        library = pkcs11.lib(module)
    except (OSError, RuntimeError) as err:
        raise BadInput(
            f"the PKCS#11 module cannot be used: {_said(err)}",
            value=module,
            fix=f"correct {MODULE}, or the settings of the module itself",
        ) from err
    present = [
        token
        for token in (slot.get_token() for slot in library.get_slots(token_present=True))
        if token.flags & TokenFlag.TOKEN_INITIALIZED
    ]
    found = [token for token in present if _is(token, name)]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(repr(token.label) for token in (found or present)) or "none"
    raise BadInput(
        "several tokens are of that name" if found else "no token is of that name",
        value=name.text,
        fix=f"name one with token=…, serial=… or slot-id=…; there are: {labels}",
    )


def _is(token: pkcs11.Token, name: KeyUri) -> bool:
    said: tuple[tuple[object, object], ...] = (
        (token.label, name.token),
        (token.serial.decode(errors="replace"), name.serial),
        (token.manufacturer_id, name.manufacturer),
        (token.model, name.model),
        (token.slot.slot_id, name.slot),
    )
    return all(wanted in (None, found) for found, wanted in said)


def _pin(name: KeyUri, environ: Mapping[str, str]) -> str | None:
    if name.pin_file is None:
        return keyfile.secret(environ, PIN)
    try:
        return Path(name.pin_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(
            f"the PIN file cannot be read: {keyfile.reason(err)}",
            value=name.pin_file,
            fix="correct pin-source",
        ) from err


def _session(token: pkcs11.Token, pin: str | None, name: KeyUri) -> pkcs11.Session:
    given: object = pin
    if pin is None:
        if not token.flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
            raise BadInput(
                "no PIN is given for the token",
                value=name.text,
                fix=f"set {PIN} or {PIN}_FILE, or name a file with ?pin-source=",
            )
        given = pkcs11.PROTECTED_AUTH  # the device asks for it itself
    try:
        return token.open(user_pin=given)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open()  # the program around us uses the token, too
    except _REFUSED_PIN as err:
        raise BadInput(
            "the token refuses the PIN",
            value=name.text,
            fix=f"correct {PIN}; a token locks itself after a few wrong ones",
        ) from err
    except (pkcs11.PinLocked, pkcs11.UserPinNotInitialized) as err:
        raise BadInput(
            f"the token lets nobody in: {_said(err)}",
            value=name.text,
            fix="set the user's PIN anew with the token's own tool",
        ) from err


def _template(kind: ObjectClass, name: KeyUri) -> dict[Attribute, object]:
    template: dict[Attribute, object] = {Attribute.CLASS: kind}
    if name.label is not None:
        template[Attribute.LABEL] = name.label
    if name.key is not None:
        template[Attribute.ID] = name.key
    return template


def _private(session: pkcs11.Session, name: KeyUri) -> SignMixin:
    found = list(session.get_objects(_template(ObjectClass.PRIVATE_KEY, name)))
    if len(found) == 1:
        key = found[0]
        if not isinstance(key, SignMixin):
            raise BadInput("the key in the token may not sign", value=name.text)
        return key
    if not found:
        found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        why = "the token has no private key of that name"
    else:
        why = "the token has several private keys of that name"
    keys = ", ".join(_shown(item) for item in found) or "none"
    raise BadInput(why, value=name.text, fix=f"name one of: {keys}")


def _shown(item: pkcs11.Object) -> str:
    """Return what to write into a URI for an object."""
    label, key = quote(str(item[Attribute.LABEL])), bytes(item[Attribute.ID])
    return f"object={label};id=%{key.hex('%')}" if key else f"object={label}"


def _public(session: pkcs11.Session, private: SignMixin, name: KeyUri) -> PublicKey:
    key, label = bytes(private[Attribute.ID]), private[Attribute.LABEL]
    template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key}
    beside = list(session.get_objects(template))
    if not beside:
        raise BadInput(
            "the token has no public key beside the private one",
            value=name.text,
            fix=f"store it with the same CKA_ID, {key.hex()}",
        )
    # Ids need not be unique; of several the one with the private key's label is meant.
    found = max(beside, key=lambda item: item[Attribute.LABEL] == label)
    try:
        return PublicKey.from_jwk(_jwk(found[Attribute.EC_PARAMS], found[Attribute.EC_POINT]))
    except (KeyError, ValueError, pkcs11.AttributeTypeInvalid) as err:
        raise BadInput(
            "the key in the token is neither Ed25519 nor P-256",
            value=name.text,
            fix="make one with `tierlink keygen pkcs11:…`",
        ) from err


def _jwk(curve: bytes, point: bytes) -> dict[str, object]:
    """Return the JWK of a public key; modules give the point in DER, or bare."""
    if curve in _EDWARDS_NAMES:
        raw = point if len(point) == 32 else der.read(point, der.OCTETS).content  # noqa: PLR2004
        return {"kty": "OKP", "crv": "Ed25519", "x": str(b64encode(raw))}
    if curve != _P256:
        raise ValueError("another curve")
    raw = point if len(point) == 65 else der.read(point, der.OCTETS).content  # noqa: PLR2004
    if raw[:1] != b"\x04":
        raise ValueError("a compressed point")
    x, y = str(b64encode(raw[1:33])), str(b64encode(raw[33:]))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}
