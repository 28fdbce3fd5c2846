"""SM2 on or off for one test: in a process of its own there is no way back, among tests there is.

sm2_on          skips where the system's OpenSSL cannot do it
sm2_off         as processes start
switch_sm2_off  called in the middle of a test: what another process without it would say
openssl         the command line of the same library, to compare with
"""

import shutil
import subprocess

import pytest

from schemas import delegation, sm2
from schemas.errors import BadInput


@pytest.fixture
def switch_sm2_off(monkeypatch):
    def off():
        monkeypatch.setattr(sm2._Switch, "library", None)
        delegation._parse_delegation.cache_clear()  # another process has read none of them

    return off


@pytest.fixture
def sm2_off(switch_sm2_off):
    switch_sm2_off()


@pytest.fixture
def sm2_on(sm2_off):
    try:
        sm2.enable()
    except BadInput as err:
        pytest.skip(f"no SM2 on this machine: {err.detail}")


@pytest.fixture
def openssl(tmp_path):
    """Run openssl in a folder of the test's own; give what it prints."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine (on Debian: apt install openssl)")

    def run(*arguments, check=True):
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    return run
