"""`tierlink keygen` and `--key`: a file or a token, and SM2 where it is switched on."""

import json

import pytest
from typer.testing import CliRunner

from schemas.errors import BadInput
from schemas.keys import ED25519, ES256, SM2, PublicKey
from tierlink.cli import app
from tierlink.cli.session import Session
from tierlink.custody import admit_algorithms, open_signer


@pytest.fixture
def tierlink(monkeypatch, tmp_path, sm2_off):
    """Run a command in a folder of the test's own, with these variables and none of ours."""
    for name in ("KEY_PASSPHRASE", "KEY_PASSPHRASE_FILE", "SM2", "PKCS11_MODULE", "PKCS11_PIN"):
        monkeypatch.delenv(f"TIERLINK_{name}", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, exit_code=0, **environ):
        done = CliRunner().invoke(app, [*arguments], env=environ)
        assert done.exit_code == exit_code, done.output
        return done.stdout if exit_code == 0 else done.stderr

    return run


@pytest.mark.parametrize("alg", [ED25519, ES256])
def test_keygen_into_a_file(tierlink, tmp_path, alg):
    made = json.loads(tierlink("keygen", "key.pem", "--alg", alg, "--json"))
    key = open_signer(tmp_path / "key.pem", {}).public
    assert made == {
        "file": "key.pem",
        "encrypted": False,
        "kid": key.kid,
        "alg": alg,
        "jwk": dict(key.jwk),
    }


def test_keygen_locks_the_file(tierlink, tmp_path):
    environ = {"TIERLINK_KEY_PASSPHRASE": "correct horse"}
    assert "encrypted    yes" in tierlink("keygen", "key.pem", **environ)
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    assert open_signer(tmp_path / "key.pem", environ)


@pytest.mark.parametrize("alg", [ED25519, ES256])
def test_keygen_into_a_token(tierlink, softhsm, alg):
    name = f"pkcs11:token=acme;object=made-{alg}"
    made = json.loads(tierlink("keygen", name, "--alg", alg, "--json", **softhsm.environ))
    assert made["token"] == name
    assert "file" not in made
    assert PublicKey.from_jwk(made["jwk"]) == open_signer(name, softhsm.environ).public


def test_keygen_tells_what_a_token_lacks(tierlink, softhsm):
    name = "pkcs11:token=closed;object=a"
    said = tierlink("keygen", name, exit_code=1)
    assert "TIERLINK_PKCS11_MODULE" in said
    assert "Traceback" not in said


def test_another_algorithm_is_a_usage_error(tierlink):
    assert "Ed25519, SM2" in tierlink("keygen", "key.pem", "--alg", "RSA", exit_code=2)


def test_sm2_is_off(tierlink, tmp_path):
    assert "set TIERLINK_SM2=1" in tierlink("keygen", "key.pem", "--alg", "SM2", exit_code=1)
    assert not (tmp_path / "key.pem").exists()


def test_sm2_is_switched_on(tierlink, sm2_on, switch_sm2_off, tmp_path):
    switch_sm2_off()
    made = json.loads(tierlink("keygen", "key.pem", "--alg", "SM2", "--json", TIERLINK_SM2="1"))
    assert (made["alg"], made["jwk"]["crv"]) == (SM2, "SM2")
    assert open_signer(tmp_path / "key.pem", {}).public.kid == made["kid"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("yes", "neither 0 nor 1 nor the path"),
        ("/nowhere/libcrypto.so.3", "install OpenSSL 3 built with SM2"),
    ],
)
def test_sm2_that_cannot_be_switched_on_ends_the_command(tierlink, value, said):
    line = tierlink("keygen", "key.pem", exit_code=1, TIERLINK_SM2=value)
    assert said in line
    assert "Traceback" not in line


@pytest.mark.parametrize("value", [None, "", "0"])
def test_sm2_stays_off(sm2_off, value):
    admit_algorithms({} if value is None else {"TIERLINK_SM2": value})
    from schemas import sm2  # noqa: PLC0415

    assert not sm2.enabled()


def test_key_takes_a_file_or_a_token(tierlink, softhsm, monkeypatch, tmp_path):
    name = "pkcs11:token=acme;object=either"
    tierlink("keygen", "key.pem")
    tierlink("keygen", name, **softhsm.environ)
    for variable, value in softhsm.environ.items():
        monkeypatch.setenv(variable, value)
    kids = {Session(key_file=text).signer().public.kid for text in ("key.pem", name)}
    assert len(kids) == 2


def test_a_holder_of_the_data_folder_may_keep_his_key_in_a_token(
    tierlink, softhsm, monkeypatch, tmp_path
):
    name = "pkcs11:token=acme;object=kept"
    tierlink("keygen", name, **softhsm.environ)
    # two slashes, which a path would lose
    named = f"{name}?module-path={softhsm.module.replace('/lib', '//lib', 1)}"
    company = {"prefix": "88.200", "api_key": "k", "key_file": named}
    (tmp_path / ".tierlink").mkdir()
    (tmp_path / ".tierlink" / "sample.json").write_text(json.dumps({"companies": [company]}))
    for variable, value in softhsm.environ.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("TIERLINK_DATA_DIR", raising=False)
    assert Session(speaker="88.200").signer().public.alg == ED25519


@pytest.mark.parametrize("command", ["register", "update", "retire", "link", "allocate"])
def test_help_says_so(tierlink, command):
    assert "pkcs11:" in tierlink(command, "--help")


def test_a_key_that_is_not_there(tierlink):
    with pytest.raises(BadInput):
        Session(key_file="none.pem").signer()
