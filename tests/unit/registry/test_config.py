"""What the production profile demands, and of whom."""

import pytest

from registry.config import Settings
from schemas.errors import BadInput

PRODUCTION = {"profile": "production", "database_url": "postgresql://x/y"}


def test_nobody_goes_without_a_database():
    with pytest.raises(BadInput, match="TIERLINK_DATABASE_URL"):
        Settings.load(profile="production", keyring_key="A" * 43)


def test_only_who_keeps_keys_needs_the_key_that_encrypts_them():
    """A resolver and a migration do not, and are not given it."""
    settings = Settings.load(**PRODUCTION)
    assert settings.url == "postgresql+asyncpg://x/y"
    with pytest.raises(BadInput, match="TIERLINK_KEYRING_KEY"):
        assert settings.kek
    assert Settings.load(**PRODUCTION, keyring_key="A" * 43).kek == bytes(32)
    assert Settings.load().kek is None
