"""Backup and restore of one node: `tierlink backup`, `tierlink restore`.

A backup is a folder:

    manifest.json      written last: what is in it, and what the node was at that moment
    database.dump      pg_dump's custom format, of one snapshot
    changes.copy       what the log had not taken in, of the same snapshot
    published.note     the log's independent copy, as it was just before that snapshot
    trust.json         what verifiers are told, if the node writes it
    secrets/           only if asked for: keyring.key, operator.json, sample.json

It holds everything that was accepted, hosted keys as they are stored (sealed under the keyring
key) and API keys as hashes. What opens them is not in it unless asked for: see ADR 28.
"""
