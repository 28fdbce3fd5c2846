"""SM2: off until switched on; then the standard's example, OpenSSL's word, and every refusal."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from schemas import canonical, sm2
from schemas.chain import Trust, index, trust_document
from schemas.delegation import check_possession, parse_delegation, sign_possession
from schemas.envelope import RECORD, cosign, digest, parse, sign, verify
from schemas.errors import BadInput, VerifyError
from schemas.keys import (
    ALGORITHMS,
    ED25519,
    ES256,
    SM2,
    PrivateKey,
    PublicKey,
    b64encode,
    check_algorithm,
    sha256,
    thumbprint,
)
from tests.forgeries import CHIP, CLAIMS
from tests.parties import (
    DELEGATIONS,
    GEAR,
    INDUSTRY,
    INDUSTRY_TOKEN,
    ISSUED,
    NOW,
    ROOT,
    ROOT_TOKEN,
    STEEL,
    STEEL_TOKEN,
    delegation,
    held,
    prefix,
    record,
    refusal,
    trust,
)

N = sm2.ORDER

# GB/T 32918.5-2017, A.2
SECRET = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
X = bytes.fromhex("09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020")
Y = bytes.fromhex("ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13")
R = bytes.fromhex("f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3")
S = bytes.fromhex("b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa")
MESSAGE = b"message digest"

JWK = {"kty": "EC", "crv": "SM2", "x": str(b64encode(X)), "y": str(b64encode(Y))}


def private(secret=SECRET):
    return PrivateKey.from_handle(sm2.PrivateHandle(sm2.library("E_ALG"), secret))


def raised(call, *arguments):
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    return caught.value


def envelope_of(signer, alg=None, kid=None, message_of=None):
    """A record's envelope whose header says what is asked for."""
    head = {"alg": alg or signer.public.alg, "kid": kid or signer.public.kid, "typ": RECORD}
    message = f"{b64encode(canonical.encode(head))}.{b64encode(canonical.encode(CLAIMS))}"
    return f"{message}.{b64encode((message_of or signer.sign)(message.encode()))}"


class TestOff:
    pytestmark = pytest.mark.usefixtures("sm2_off")

    def test_nothing_of_it_is_loaded(self):
        assert not sm2.enabled()
        assert SM2 not in ALGORITHMS

    @pytest.mark.parametrize(
        ("call", "argument", "code"),
        [
            pytest.param(PublicKey.from_jwk, JWK, "E_KEY", id="a-key"),
            pytest.param(PrivateKey.generate, SM2, "E_ALG", id="a-new-key"),
            pytest.param(PrivateKey.from_pkcs8, sm2._pkcs8(SECRET, X + Y), "E_KEY", id="a-file"),
            pytest.param(check_algorithm, SM2, "E_ALG", id="the-name"),
        ],
    )
    def test_is_refused_and_the_setting_named(self, call, argument, code):
        err = raised(call, argument)
        assert (err.code, err.fix) == (code, "set TIERLINK_SM2=1")

    def test_an_envelope_is_refused_and_the_setting_named(self):
        token = envelope_of(GEAR, alg=SM2)
        err = raised(parse, token, RECORD)
        assert (err.code, err.fix) == ("E_ALG", "set TIERLINK_SM2=1")
        assert refusal(verify, token, RECORD, {GEAR.public.kid: GEAR.public}) == "E_ALG"

    def test_a_delegation_that_names_such_a_key_is_refused(self):
        claims = delegation("88", ".", GEAR).claims()
        claims["keys"].append({"kid": thumbprint(JWK), "jwk": JWK, "use": ["record"]})
        token = sign("tierlink-delegation+jws", claims, ROOT)
        err = raised(parse_delegation, token)
        assert (err.code, err.fix) == ("E_KEY", "set TIERLINK_SM2=1")

    @pytest.mark.parametrize(
        ("name", "why"),
        [("libnowhere.so.3", "cannot open"), ("libm.so.6", "lacks a function")],
    )
    def test_a_library_that_cannot_do_it(self, name, why):
        err = raised(sm2.enable, name)
        assert err.code == "sm2_unavailable"
        assert why in err.detail
        assert "OpenSSL 3" in err.fix
        assert "TIERLINK_SM2" in err.fix
        assert not sm2.enabled()

    def test_a_library_that_gets_the_example_wrong(self, sm2_on, monkeypatch, switch_sm2_off):
        switch_sm2_off()
        monkeypatch.setattr(sm2, "_EXAMPLE_MESSAGE", b"another")
        assert "example" in raised(sm2.enable).detail
        assert not sm2.enabled()


@pytest.mark.usefixtures("sm2_on")
class TestExample:
    def test_the_private_key_gives_the_point(self):
        assert private().public.jwk == JWK
        assert sm2._EXAMPLE_POINT == X + Y

    def test_the_signature_verifies(self):
        assert PublicKey.from_jwk(JWK).verifies(R + S, MESSAGE)
        assert not PublicKey.from_jwk(JWK).verifies(R + S, b"message digesT")

    def test_a_changed_bit_does_not(self):
        key = PublicKey.from_jwk(JWK)
        good = int.from_bytes(R + S, "big")
        assert not any(
            key.verifies((good ^ 1 << bit).to_bytes(64, "big"), MESSAGE) for bit in range(512)
        )

    def test_the_key_id_is_the_thumbprint_of_rfc_7638(self):
        text = json.dumps(JWK, sort_keys=True, separators=(",", ":"))
        assert PublicKey.from_jwk(JWK).kid == b64encode(sha256(text.encode()))


@pytest.mark.usefixtures("sm2_on")
class TestKeys:
    def test_a_new_key_signs(self):
        signer = PrivateKey.generate(SM2)
        assert signer.public.alg == SM2
        signature = signer.sign(b"message")
        assert len(signature) == 64
        assert signer.public.verifies(signature, b"message")
        assert not signer.public.verifies(signature, b"massage")
        assert not private().public.verifies(signature, b"message")
        assert signer.sign(b"message") != signature  # a new nonce each time

    def test_pkcs8_comes_back(self):
        signer = PrivateKey.generate(SM2)
        assert PrivateKey.from_pkcs8(signer.pkcs8()).public == signer.public
        assert signer.pkcs8().hex() not in repr(signer)

    @pytest.mark.parametrize("size", [0, 1, 1000, 48 * 1024])
    def test_messages_of_any_size(self, size):
        signer = private()
        assert signer.public.verifies(signer.sign(bytes(size)), bytes(size))

    @pytest.mark.parametrize(
        "jwk",
        [
            pytest.param(JWK | {"y": JWK["x"]}, id="off-curve"),
            pytest.param(JWK | {"x": JWK["y"], "y": JWK["x"]}, id="swapped"),
            pytest.param(JWK | {"crv": "P-256"}, id="on-another-curve"),
            pytest.param(dict(CHIP.public.jwk) | {"crv": "SM2"}, id="of-another-curve"),
            pytest.param(JWK | dict.fromkeys("xy", str(b64encode(bytes(32)))), id="zero"),
            pytest.param(JWK | {"x": str(b64encode(b"\xff" * 32))}, id="beyond-the-field"),
            pytest.param(
                JWK | {"y": str(b64encode((int.from_bytes(Y) + sm2._P).to_bytes(33)[1:]))},
                id="not-reduced",
            ),
            pytest.param(JWK | {"x": JWK["x"] + "="}, id="padded"),
            pytest.param({n: JWK[n] for n in ("kty", "crv", "x")}, id="no-y"),
            pytest.param(JWK | {"d": str(b64encode(SECRET))}, id="private-part"),
            pytest.param(JWK | {"kty": "OKP"}, id="of-another-type"),
        ],
    )
    def test_what_is_not_registrable(self, jwk):
        assert refusal(PublicKey.from_jwk, jwk) == "E_KEY"

    @pytest.mark.parametrize("number", [0, N - 1, N, 2**256 - 1])
    def test_a_private_key_is_below_n_less_one(self, number):
        raw = sm2._pkcs8(number.to_bytes(32, "big"), b"")
        assert refusal(PrivateKey.from_pkcs8, raw) == "E_KEY"

    @pytest.mark.parametrize("cut", [1, 10, 30, 60, 100, 130])
    def test_a_cut_off_file_is_refused(self, cut):
        assert refusal(PrivateKey.from_pkcs8, private().pkcs8()[:cut]) == "E_KEY"

    def test_many_threads_use_one_key(self):
        signer = private()
        start = threading.Barrier(8)

        def work(number):
            start.wait()
            message = str(number).encode()
            return all(signer.public.verifies(signer.sign(message), message) for _ in range(25))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


@pytest.mark.usefixtures("sm2_on")
class TestOpenssl:
    """Both ways with the command line, which is another program on the same library."""

    OPTION = ("-sigopt", "distid:1234567812345678")

    def test_reads_our_key_and_writes_it_alike(self, openssl, tmp_path):
        signer = PrivateKey.generate(SM2)
        (tmp_path / "key.der").write_bytes(signer.pkcs8())
        openssl("pkcs8", "-topk8", "-nocrypt", *("-inform", "der", "-in", "key.der"),
                *("-outform", "der", "-out", "again.der"))  # fmt: skip
        assert (tmp_path / "again.der").read_bytes() == signer.pkcs8()

    def test_verifies_what_we_sign(self, openssl, tmp_path):
        signer = PrivateKey.generate(SM2)
        signature = signer.sign(MESSAGE)
        numbers = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        (tmp_path / "key.der").write_bytes(signer.pkcs8())
        (tmp_path / "message").write_bytes(MESSAGE)
        (tmp_path / "signature").write_bytes(encode_dss_signature(*numbers))
        openssl("pkey", "-inform", "der", "-in", "key.der", "-pubout", "-out", "public.pem")
        check = ("dgst", "-sm3", "-verify", "public.pem", "-signature", "signature")
        assert "Verified OK" in openssl(*check, *self.OPTION, "message")
        wrong = ("-sigopt", "distid:8765432187654321")
        assert "Verified OK" not in openssl(*check, *wrong, "message", check=False)

    @pytest.mark.parametrize(
        ("distid", "verifies"), [("1234567812345678", True), ("8765432187654321", False)]
    )
    def test_signs_what_we_verify(self, openssl, tmp_path, distid, verifies):
        openssl("genpkey", "-algorithm", "SM2", "-out", "key.pem")
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "der",
                "-out", "key.der")  # fmt: skip
        (tmp_path / "message").write_bytes(MESSAGE)
        openssl("dgst", "-sm3", "-sign", "key.pem", "-sigopt", f"distid:{distid}",
                "-out", "signature", "message")  # fmt: skip
        key = PrivateKey.from_pkcs8((tmp_path / "key.der").read_bytes()).public
        r, s = decode_dss_signature((tmp_path / "signature").read_bytes())
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert key.verifies(signature, MESSAGE) is verifies


@pytest.mark.usefixtures("sm2_on")
class TestEnvelopes:
    """Rows 9 and 25 of the negative list, for this algorithm."""

    @pytest.fixture
    def keys(self):
        return {item.kid: item for item in (private().public, CHIP.public, GEAR.public)}

    def test_verifies(self, keys):
        assert verify(sign(RECORD, CLAIMS, private()), RECORD, keys).alg == SM2

    NUMBERS = (int.from_bytes(R, "big"), int.from_bytes(S, "big"))

    @pytest.mark.parametrize(
        "signature",
        [
            pytest.param(bytes(32) + S, id="r-zero"),
            pytest.param(R + bytes(32), id="s-zero"),
            pytest.param(N.to_bytes(32, "big") + S, id="r-is-n"),
            pytest.param(R + N.to_bytes(32, "big"), id="s-is-n"),
            pytest.param(b"\xff" * 32 + S, id="r-above-n"),
            pytest.param(R + b"\xff" * 32, id="s-above-n"),
            pytest.param(R + (N - NUMBERS[0]).to_bytes(32, "big"), id="r-plus-s-is-n"),
            pytest.param(R + (N - NUMBERS[1]).to_bytes(32, "big"), id="s-negated"),
            pytest.param(S + R, id="swapped"),
            pytest.param((R + S)[:63], id="63-bytes"),
            pytest.param(R + S + b"\x00", id="65-bytes"),
            pytest.param(b"\x00" + R + b"\x00" + S, id="zero-padded"),
            pytest.param(encode_dss_signature(*NUMBERS), id="der"),
            pytest.param((R + S).hex().encode(), id="hex"),
            pytest.param(b"", id="none"),
        ],
    )
    def test_a_signature_of_another_form(self, keys, signature):
        assert not PublicKey.from_jwk(JWK).verifies(signature, MESSAGE)
        token = envelope_of(private(), message_of=lambda _: signature)
        assert refusal(verify, token, RECORD, keys) == "E_SIG"

    @pytest.mark.parametrize(
        ("alg", "kid", "signer"),
        [
            pytest.param(ES256, None, private, id="sm2-key-under-es256"),
            pytest.param("Ed25519", None, private, id="sm2-key-under-ed25519"),
            pytest.param(SM2, None, lambda: CHIP, id="p256-key-under-sm2"),
            pytest.param(SM2, None, lambda: GEAR, id="ed25519-key-under-sm2"),
            pytest.param("sm2", None, private, id="lower-case"),
            pytest.param("SM2-SM3", None, private, id="longer-name"),
        ],
    )
    def test_a_key_under_another_algorithm(self, keys, alg, kid, signer):
        token = envelope_of(signer(), alg=alg, kid=kid)
        assert refusal(verify, token, RECORD, keys) == "E_ALG"

    def test_another_keys_signature(self, keys):
        token = envelope_of(private(), message_of=PrivateKey.generate(SM2).sign)
        assert refusal(verify, token, RECORD, keys) == "E_SIG"

    def test_possession(self):
        signer, mine = PrivateKey.generate(SM2), prefix("88.100")
        token = sign_possession(signer, mine, "n1", NOW)
        check_possession(token, signer.public, mine, ["n1"], NOW)
        assert refusal(check_possession, token, private().public, mine, ["n1"], NOW) == "E_KEY"

    def test_a_delegation_to_such_a_key(self):
        signer = PrivateKey.generate(SM2)
        token = delegation("88", ".", GEAR, keys=(held(signer),)).sign(ROOT)
        keys = parse_delegation(token)[1].keys_for("record", ISSUED)
        assert verify(sign(RECORD, CLAIMS, signer), RECORD, keys).kid == signer.public.kid


class TestHybrid:
    """A holder who requires an Ed25519 and an SM2 signature on everything."""

    REQUIRED = ((ED25519, SM2),)

    @pytest.fixture
    def sm2_key(self, sm2_on):
        return PrivateKey.generate(SM2)

    @pytest.fixture
    def chain(self, sm2_key):
        keys = (held(GEAR), held(sm2_key))
        token = delegation("88.100", "88", GEAR, keys=keys, require=self.REQUIRED).sign(INDUSTRY)
        return trust(INDUSTRY_TOKEN, token).chain(prefix("88.100"))

    @pytest.fixture
    def both(self, sm2_key):
        return cosign(record("88.100/A").sign(GEAR), sm2_key)

    @staticmethod
    def judged(chain, token):
        return refusal(lambda: chain.check_speaker(parse(token, RECORD), prefix("88.100"), ISSUED))

    def test_both_verify_in_either_order(self, chain, both, sm2_key):
        assert self.judged(chain, both) is None
        assert self.judged(chain, cosign(record("88.100/A").sign(sm2_key), GEAR)) is None

    def test_stripped_to_either(self, chain, sm2_key):
        for signer in (GEAR, sm2_key):
            assert self.judged(chain, record("88.100/A").sign(signer)) == "E_DOWNGRADE"

    def test_a_second_signature_of_the_same_algorithm_is_not_the_other(self, chain):
        token = cosign(record("88.100/A").sign(GEAR), PrivateKey.generate())
        assert self.judged(chain, token) == "E_DOWNGRADE"

    def test_either_signature_broken(self, chain, both):
        ours, _, further = both.partition("~")
        for broken in (f"{_other_end(ours)}~{further}", _other_end(both)):
            assert self.judged(chain, broken) == "E_SIG"

    def test_by_a_key_that_is_not_the_holders(self, chain):
        token = cosign(record("88.100/A").sign(GEAR), PrivateKey.generate(SM2))
        assert self.judged(chain, token) == "E_CHAIN"

    def test_a_verifier_without_sm2_does_not_pass_half_of_it(self, both, switch_sm2_off):
        switch_sm2_off()
        assert raised(parse, both, RECORD).code == "E_ALG"


class TestBundle:
    """One holder with an SM2 key does not shut the others out of a verifier without it."""

    @pytest.fixture
    def newest(self, sm2_on):
        keys = (held(STEEL), held(PrivateKey.generate(SM2)))
        return delegation(
            "88.101", "88", STEEL, keys=keys, sequence=2, prev=digest(STEEL_TOKEN)
        ).sign(INDUSTRY)

    @pytest.fixture
    def bundle(self, newest):
        document = trust_document((ROOT_TOKEN,), (*DELEGATIONS, newest))
        return canonical.encode(document)

    def test_on(self, bundle):
        chains = Trust.parse(bundle)
        assert len(chains.chain(prefix("88.101")).holder.keys) == 2

    def test_off(self, bundle, newest, switch_sm2_off):
        switch_sm2_off()
        chains = Trust.parse(bundle)
        assert chains.chain(prefix("88.100")).holder.subject == prefix("88.100")
        # not even by the delegation before, which this verifier could read
        assert refusal(chains.chain, prefix("88.101")) == "E_CHAIN"
        assert refusal(index, (newest,)) == "E_KEY"

    def test_a_parent_that_signs_with_sm2(self, sm2_on, switch_sm2_off):
        parent = PrivateKey.generate(SM2)
        above = delegation("88", ".", INDUSTRY, keys=(held(parent),)).sign(ROOT)
        below = delegation("88.100", "88", GEAR).sign(parent)
        document = canonical.encode(trust_document((ROOT_TOKEN,), (above, below)))
        assert Trust.parse(document).chain(prefix("88.100"))
        switch_sm2_off()
        assert Trust.parse(document).tokens == ()


def _other_end(token):
    """Another signature: the first character of its last part changed."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def test_messages_of_the_switch_are_verify_errors(sm2_off):
    assert isinstance(raised(check_algorithm, SM2), VerifyError)
