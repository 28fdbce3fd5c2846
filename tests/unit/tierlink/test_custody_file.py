"""Key files: PKCS#8 under scrypt, as OpenSSL and `cryptography` read it; and what is refused."""

import base64
import re
import stat
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from schemas import der
from schemas.errors import BadInput
from schemas.keys import ALGORITHMS, ED25519, SM2, PrivateKey
from tierlink import keyfile, pkcs8
from tierlink.custody import make_key, open_signer

PHRASE = b"correct horse"
GIVEN = {"TIERLINK_KEY_PASSPHRASE": PHRASE.decode()}


def refused(call, *arguments):
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
@pytest.mark.parametrize("environ", [{}, GIVEN], ids=["plain", "locked"])
class TestRoundTrip:
    def test_comes_back(self, tmp_path, alg, environ):
        made = make_key(tmp_path / "key.pem", environ, alg)
        assert made.public.alg == alg
        assert open_signer(str(tmp_path / "key.pem"), environ).public == made.public
        assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600

    def test_cryptography_reads_it(self, tmp_path, alg, environ):
        made = make_key(tmp_path / "key.pem", environ, alg)
        read = load_pem_private_key(
            (tmp_path / "key.pem").read_bytes(), PHRASE if environ else None
        )
        assert PrivateKey.from_handle(read).public == made.public

    def test_openssl_reads_it(self, openssl, tmp_path, alg, environ):
        made = make_key(tmp_path / "key.pem", environ, alg)
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "der",
                "-passin", f"pass:{PHRASE.decode()}", "-out", "key.der")  # fmt: skip
        read = PrivateKey.from_pkcs8((tmp_path / "key.der").read_bytes())
        assert read.public == made.public


class TestForms:
    """What others write."""

    @pytest.mark.parametrize(
        "made",
        [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())],
        ids=["Ed25519", "P-256"],
    )
    @pytest.mark.parametrize(
        "lock", [NoEncryption(), BestAvailableEncryption(PHRASE)], ids=["plain", "pbkdf2"]
    )
    def test_of_cryptography(self, tmp_path, made, lock):
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)
        keyfile.write_private(tmp_path / "key.pem", pem)
        read = open_signer(tmp_path / "key.pem", GIVEN)
        assert read.public == PrivateKey.from_handle(made).public

    def test_without_pkcs8(self, tmp_path):
        made = ec.generate_private_key(ec.SECP256R1())
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        keyfile.write_private(tmp_path / "key.pem", pem)
        assert open_signer(tmp_path / "key.pem", {}).public == PrivateKey.from_handle(made).public

    @pytest.mark.parametrize("lock", [("-scrypt",), ("-v2", "aes256")], ids=["scrypt", "pbkdf2"])
    def test_of_openssl(self, openssl, tmp_path, lock):
        openssl("genpkey", "-algorithm", "ed25519", "-out", "plain.pem")
        openssl("pkcs8", "-topk8", "-in", "plain.pem", "-out", "key.pem",
                *lock, "-passout", f"pass:{PHRASE.decode()}")  # fmt: skip
        (tmp_path / "key.pem").chmod(0o600)
        (tmp_path / "plain.pem").chmod(0o600)
        plain = open_signer(tmp_path / "plain.pem", {})
        assert open_signer(tmp_path / "key.pem", GIVEN).public == plain.public


class TestLock:
    def test_a_guess_costs_time_and_memory(self, tmp_path):
        """The costs are in the file: 2^14 · 8 · 128 bytes = 16 MiB, five times."""
        made = pkcs8.to_pem(PrivateKey.generate().pkcs8(), PHRASE)
        raw = base64.b64decode(b"".join(made.splitlines()[1:-1]))
        costs = b"".join(der.encode_integer(number) for number in (2**14, 8, 5))
        assert costs in raw
        started = time.process_time()
        pkcs8.from_pem(made, PHRASE)
        assert time.process_time() - started > 0.02

    def test_the_same_key_is_never_locked_the_same(self):
        raw = PrivateKey.generate().pkcs8()
        assert pkcs8.to_pem(raw, PHRASE) != pkcs8.to_pem(raw, PHRASE)

    def test_the_key_is_not_in_the_file(self, tmp_path):
        made = PrivateKey.generate(ED25519)
        raw = made.pkcs8()
        pem = pkcs8.to_pem(raw, PHRASE)
        assert raw[-16:] not in base64.b64decode(b"".join(pem.splitlines()[1:-1]))

    @pytest.mark.parametrize("phrase", ["wrong", "correct horse ", "CORRECT HORSE", "中"])
    def test_another_passphrase(self, tmp_path, phrase):
        make_key(tmp_path / "key.pem", GIVEN)
        err = refused(open_signer, tmp_path / "key.pem", {"TIERLINK_KEY_PASSPHRASE": phrase})
        assert "another passphrase" in err.detail
        assert err.fix == "correct TIERLINK_KEY_PASSPHRASE"

    def test_no_passphrase(self, tmp_path):
        make_key(tmp_path / "key.pem", GIVEN)
        err = refused(open_signer, tmp_path / "key.pem", {})
        assert "encrypted" in err.detail
        assert "TIERLINK_KEY_PASSPHRASE_FILE" in err.fix

    def test_a_passphrase_in_a_file(self, tmp_path):
        (tmp_path / "phrase").write_bytes(PHRASE + b"\n")
        made = make_key(tmp_path / "key.pem", GIVEN)
        environ = {"TIERLINK_KEY_PASSPHRASE_FILE": str(tmp_path / "phrase")}
        assert open_signer(tmp_path / "key.pem", environ).public == made.public

    @pytest.mark.parametrize(
        "costs",
        [(2**30, 8, 1), (2**14, 2**20, 1), (2**14, 8, 1000), (0, 8, 1), (3, 8, 1), (2**14, 8, 0)],
        ids=["memory", "block", "lanes", "zero", "odd", "no-lane"],
    )
    def test_costs_beyond_reason_are_not_paid(self, tmp_path, monkeypatch, costs):
        pem = _locked(monkeypatch, costs)
        keyfile.write_private(tmp_path / "key.pem", pem)
        assert refused(open_signer, tmp_path / "key.pem", GIVEN).fix

    def test_many_threads_open_at_once(self, tmp_path):
        made = make_key(tmp_path / "key.pem", GIVEN)
        found = []
        threads = [
            threading.Thread(
                target=lambda: found.append(open_signer(tmp_path / "key.pem", GIVEN).public)
            )
            for _ in range(4)
        ]
        for item in threads:
            item.start()
        for item in threads:
            item.join()
        assert found == [made.public] * 4


def _locked(monkeypatch, costs):
    """A file that names other costs than those it was locked with."""
    written = iter(costs)
    with monkeypatch.context() as patched:
        patched.setattr(pkcs8.der, "encode_integer", lambda _: INTEGER(next(written)))
        return pkcs8.to_pem(PrivateKey.generate().pkcs8(), PHRASE)


INTEGER = der.encode_integer


class TestRefused:
    def test_a_file_that_is_there_is_let_be(self, tmp_path):
        make_key(tmp_path / "key.pem", {})
        before = (tmp_path / "key.pem").read_bytes()
        assert "there already" in refused(make_key, tmp_path / "key.pem", {}).detail
        assert (tmp_path / "key.pem").read_bytes() == before

    def test_none(self, tmp_path):
        assert "cannot be read" in refused(open_signer, tmp_path / "none.pem", {}).detail

    def test_open_to_everybody(self, tmp_path):
        make_key(tmp_path / "key.pem", {})
        (tmp_path / "key.pem").chmod(0o644)
        assert "chmod 600" in refused(open_signer, tmp_path / "key.pem", {}).fix

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"hello",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            b"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n\n-----END ENCRYPTED PRIVATE KEY-----\n",
            b"\xff" * 100,
        ],
    )
    def test_no_key(self, tmp_path, content):
        keyfile.write_private(tmp_path / "key.pem", content)
        assert refused(open_signer, tmp_path / "key.pem", GIVEN).fix

    @pytest.mark.parametrize(
        "made",
        [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
        ids=["RSA", "P-384"],
    )
    def test_another_kind_of_key(self, tmp_path, made):
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        keyfile.write_private(tmp_path / "key.pem", pem)
        assert "neither" in refused(open_signer, tmp_path / "key.pem", {}).detail

    def test_every_cut_of_a_locked_file(self, tmp_path):
        pem = pkcs8.to_pem(PrivateKey.generate().pkcs8(), PHRASE)
        raw = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
        head, *_, foot = pem.splitlines(keepends=True)
        for cut in range(0, len(raw), 13):
            content = head + base64.encodebytes(raw[:cut]) + foot
            keyfile.write_private(tmp_path / "key.pem", content)
            assert refused(open_signer, tmp_path / "key.pem", GIVEN).fix


class TestSm2:
    def test_off(self, sm2_off, tmp_path):
        assert refused(make_key, tmp_path / "key.pem", {}, SM2).fix == "set TIERLINK_SM2=1"
        assert not (tmp_path / "key.pem").exists()

    def test_a_file_while_off(self, sm2_on, switch_sm2_off, tmp_path):
        make_key(tmp_path / "key.pem", GIVEN, SM2)
        switch_sm2_off()
        err = refused(open_signer, tmp_path / "key.pem", GIVEN)
        assert err.fix == "set TIERLINK_SM2=1"

    @pytest.mark.parametrize("environ", [{}, GIVEN], ids=["plain", "locked"])
    def test_comes_back(self, sm2_on, tmp_path, environ):
        made = make_key(tmp_path / "key.pem", environ, SM2)
        read = open_signer(tmp_path / "key.pem", environ)
        assert read.public == made.public
        assert made.public.verifies(read.sign(b"message"), b"message")

    @pytest.mark.parametrize("lock", [None, ("-scrypt",)], ids=["plain", "scrypt"])
    def test_of_openssl(self, sm2_on, openssl, tmp_path, lock):
        openssl("genpkey", "-algorithm", "SM2", "-out", "plain.pem")
        options = (*lock, "-passout", f"pass:{PHRASE.decode()}") if lock else ("-nocrypt",)
        openssl("pkcs8", "-topk8", "-in", "plain.pem", "-out", "key.pem", *options)
        (tmp_path / "key.pem").chmod(0o600)
        signer = open_signer(tmp_path / "key.pem", GIVEN)
        assert signer.public.alg == SM2

    def test_under_another_lock_says_how_to_convert(self, sm2_on, openssl, tmp_path):
        openssl("genpkey", "-algorithm", "SM2", "-aes256", "-out", "key.pem",
                "-pass", f"pass:{PHRASE.decode()}")  # fmt: skip
        (tmp_path / "key.pem").chmod(0o600)
        err = refused(open_signer, tmp_path / "key.pem", GIVEN)
        assert re.search(r"openssl pkcs8 -topk8 -scrypt", err.fix)
