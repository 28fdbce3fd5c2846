"""HTTP in, HTTP out: parse, call one rule, answer. No SQL and no rule lives here."""
