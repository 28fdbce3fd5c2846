"""The reader: the front door, the cache that knows how old it is, representations, traces."""
