"""Keys in a token, SoftHSM: what signs, from which threads, and what is said where one fails."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.envelope import RECORD, sign, verify
from schemas.errors import BadInput, VerifyError
from schemas.keys import ED25519, ES256, SM2, PublicKey
from tests.forgeries import CLAIMS, P256_ORDER
from tests.tokens import PIN
from tierlink import custody
from tierlink.custody import make_key, open_signer


@pytest.fixture(scope="module")
def environ(softhsm):
    return softhsm.environ


@pytest.fixture(scope="module")
def names(environ):
    """A key of each algorithm, made in the token."""
    made = {alg: f"pkcs11:token=acme;object=kept-{alg}" for alg in (ED25519, ES256)}
    for alg, name in made.items():
        make_key(name, environ, alg)
    return made


def refused(environ, name, call=open_signer, *arguments):
    with pytest.raises(BadInput) as caught:
        call(name, environ, *arguments)
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("alg", [ED25519, ES256])
class TestSigning:
    def test_what_it_signs_verifies(self, environ, names, alg):
        signer = open_signer(names[alg], environ)
        assert signer.public.alg == alg
        assert PublicKey.from_jwk(signer.public.jwk) == signer.public
        token = sign(RECORD, CLAIMS, signer)
        assert verify(token, RECORD, {signer.public.kid: signer.public}).kid == signer.public.kid

    def test_signatures_are_of_the_form_of_envelopes(self, environ, names, alg):
        signer = open_signer(names[alg], environ)
        for number in range(32):
            signature = signer.sign(bytes([number]))
            assert len(signature) == 64
            assert signer.public.verifies(signature, bytes([number]))
            if alg == ES256:
                assert int.from_bytes(signature[32:], "big") <= P256_ORDER // 2

    def test_any_thread_may_sign(self, environ, names, alg):
        signer = open_signer(names[alg], environ)
        start = threading.Barrier(8)

        def work(number):
            start.wait()
            message = str(number).encode()
            return all(signer.public.verifies(signer.sign(message), message) for _ in range(20))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))

    def test_the_private_key_stays(self, environ, names, alg):
        pkcs11 = pytest.importorskip("pkcs11")
        key = open_signer(names[alg], environ)._key
        assert key[pkcs11.Attribute.EXTRACTABLE] is False
        assert key[pkcs11.Attribute.SENSITIVE] is True
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]

    def test_another_process_finds_it(self, environ, names, alg):
        program = (
            "import os, sys; from tierlink.custody import open_signer;"
            "print(open_signer(sys.argv[1], os.environ).public.kid)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, names[alg]],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == open_signer(names[alg], environ).public.kid

    def test_two_signers_of_one_key_share_the_login(self, environ, names, alg):
        first, second = (open_signer(names[alg], environ) for _ in range(2))
        assert first.public == second.public
        del first
        assert second.public.verifies(second.sign(b"after"), b"after")

    def test_its_repr_tells_where_and_not_what(self, environ, names, alg):
        text = repr(open_signer(names[alg], environ))
        assert names[alg] in text
        assert PIN not in text


class TestNaming:
    def test_by_id(self, environ):
        made = make_key("pkcs11:token=acme;object=named;id=%AB%01", environ)
        assert open_signer("pkcs11:token=acme;id=%ab%01", environ).public == made.public

    def test_by_serial(self, environ, names):
        place = open_signer(names[ED25519], environ)._place[1]
        named = names[ED25519].replace("token=acme", f"slot-id={place}")
        assert open_signer(named, environ).public.alg == ED25519

    def test_the_module_and_the_pin_may_stand_in_the_name(self, environ, names, softhsm, tmp_path):
        (tmp_path / "pin").write_text(f"{PIN}\n")
        query = f"?module-path={softhsm.module}&pin-source=file:{tmp_path / 'pin'}"
        assert open_signer(names[ED25519] + query, {}).public.alg == ED25519


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("pkcs11:token=nobody;object=a", "no token is of that name"),
            ("pkcs11:token=twin;object=a", "several tokens"),
            ("pkcs11:token=acme;object=nobody", "no private key of that name"),
            ("pkcs11:token=acme", "several private keys"),
        ],
    )
    def test_what_is_not_there_or_not_one(self, environ, names, name, why):
        assert why in refused(environ, name).detail

    def test_the_error_names_what_is_there(self, environ, names):
        assert "object=kept-ES256" in refused(environ, "pkcs11:token=acme;object=nobody").fix
        assert "'acme'" in refused(environ, "pkcs11:token=nobody").fix

    def test_no_module(self, environ, names):
        given = {name: environ[name] for name in environ if "MODULE" not in name}
        assert "TIERLINK_PKCS11_MODULE" in refused(given, names[ES256]).fix

    @pytest.mark.parametrize("module", ["/nowhere.so", "libm.so.6"])
    def test_no_module_of_that_name(self, environ, names, module):
        given = environ | {"TIERLINK_PKCS11_MODULE": module}
        assert "cannot be used" in refused(given, names[ES256]).detail

    def test_no_pin(self, environ):
        given = {name: environ[name] for name in environ if "PIN" not in name}
        assert "TIERLINK_PKCS11_PIN" in refused(given, "pkcs11:token=closed;object=a").fix

    def test_a_wrong_pin_is_not_repeated(self, environ):
        given = environ | {"TIERLINK_PKCS11_PIN": "99999999"}
        err = refused(given, "pkcs11:token=closed;object=a")
        assert "refuses the PIN" in err.detail
        assert "99999999" not in str(err.problem())

    def test_a_pin_file_that_is_not_there(self, environ, tmp_path):
        name = f"pkcs11:token=closed;object=a?pin-source=file:{tmp_path}/none"
        assert "PIN file" in refused(environ, name).detail

    def test_two_pins(self, environ, tmp_path):
        (tmp_path / "pin").write_text(PIN)
        given = environ | {"TIERLINK_PKCS11_PIN_FILE": str(tmp_path / "pin")}
        assert "both set" in refused(given, "pkcs11:token=closed;object=a").detail

    def test_another_key_of_the_same_name_is_not_made(self, environ, names):
        assert "there already" in refused(environ, names[ES256], make_key, ES256).detail

    def test_a_key_without_a_label_is_not_made(self, environ):
        assert "label" in refused(environ, "pkcs11:token=acme", make_key).detail

    def test_no_token_makes_sm2(self, environ):
        with pytest.raises(VerifyError) as caught:
            make_key("pkcs11:token=acme;object=sm2", environ, SM2)
        assert caught.value.code == "E_ALG"

    def test_a_key_of_another_curve(self, environ, names):
        pkcs11 = pytest.importorskip("pkcs11")
        from pkcs11.util.ec import encode_named_curve_parameters  # noqa: PLC0415

        session = open_signer(names[ES256], environ)._key.session.token.open(rw=True)
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp384r1")}
        made = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        made.generate_keypair(id=b"\x38", label="p384", store=True)
        session.close()
        name = "pkcs11:token=acme;object=p384"
        assert "neither Ed25519 nor P-256" in refused(environ, name).detail

    def test_a_private_key_without_its_public_one(self, environ, names):
        pkcs11 = pytest.importorskip("pkcs11")
        make_key("pkcs11:token=acme;object=alone", environ, ES256)
        session = open_signer(names[ES256], environ)._key.session.token.open(rw=True)
        kind = {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
            pkcs11.Attribute.LABEL: "alone",
        }
        for item in list(session.get_objects(kind)):
            item.destroy()
        session.close()
        assert "no public key" in refused(environ, "pkcs11:token=acme;object=alone").detail

    def test_a_public_key_that_is_another_ones(self, environ, names):
        """Two pairs under one id: the private key is the second's, the public one the first's."""
        pkcs11 = pytest.importorskip("pkcs11")
        for label in ("first", "second"):
            make_key(f"pkcs11:token=acme;object={label};id=%77", environ, ES256)
        session = open_signer(names[ES256], environ)._key.session.token.open(rw=True)
        kind = {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
            pkcs11.Attribute.LABEL: "second",
        }
        for item in list(session.get_objects(kind)):
            item.destroy()
        session.close()
        with pytest.raises(custody.tokens.TokenFailed, match="does not fit"):
            open_signer("pkcs11:token=acme;object=second", environ)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    monkeypatch.delitem(sys.modules, "tierlink.custody.tokens", raising=False)
    monkeypatch.delattr(custody, "tokens", raising=False)
    err = refused({}, "pkcs11:token=acme;object=a")
    assert err.code == "hsm_missing"
    assert err.fix == "pip install 'tierlink[hsm]'"
