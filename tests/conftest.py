"""What every test may rely on: a real PostgreSQL, and that nothing is skipped unseen in CI."""

pytest_plugins = [
    "tests.fixtures_pg",
    "tests.fixtures_registry",
    "tests.neighbours",
    "tests.companies",
    "tests.fixtures_log",  # behind what it imports
    "tests.fixtures_standby",
    "tests.sm2_switch",
    "tests.sql_recorder",
    "tests.strict_skips",
    "tests.tokens",
]
