"""The ground: the wire contract that both wings, partners and verifiers agree on. Pure, no I/O."""
