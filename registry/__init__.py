"""The authority: writes, keys, history, and the API that enterprises register through."""
