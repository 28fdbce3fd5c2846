"""A hardware token for tests: SoftHSM 2, a real PKCS#11 module that keeps its keys in files.

The module reads its configuration once in a process and sees the tokens that are there then, so
all of them are made at the start:

acme      the one that tests sign with; its PIN is PIN
twin      there are two of that name
closed    nobody logs in to it: for wrong PINs
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

PIN = "271828"
LABELS = ("acme", "twin", "twin", "closed")
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class SoftHsm:
    """Where the module is, and the environment of whoever uses it."""

    module: str
    config: Path
    folder: Path

    @property
    def environ(self):
        return {
            "SOFTHSM2_CONF": str(self.config),
            "TIERLINK_PKCS11_MODULE": self.module,
            "TIERLINK_PKCS11_PIN": PIN,
        }


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory):
    pytest.importorskip("pkcs11", reason="the extra hsm is not installed")
    tool = shutil.which("softhsm2-util")
    module = next((path for path in MODULES if Path(path).exists()), None)
    if tool is None or module is None:
        pytest.skip("SoftHSM is not installed (on Debian: apt install softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    made = SoftHsm(module, config, folder)
    for label in LABELS:
        subprocess.run(
            [tool, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "161803"],
            env={**os.environ, **made.environ},
            check=True,
            capture_output=True,
        )
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)  # read by the module, in this process
    yield made
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before
