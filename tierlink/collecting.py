"""How often a server looks for cycles among its objects: seldom, and not in what stays anyway.

Nearly everything here is freed the moment nobody refers to it. The collector is for cycles, which
few things make, and it goes through every container there is. An import holds thousands of rows at
a time; at the interpreter's own thresholds half of its time went into looking through the modules,
the cached answers and the maps of the log, again and again, and every request waited meanwhile.
"""

from __future__ import annotations

import gc

# Containers made and not freed since the last look. Cycles worth some megabytes may wait for it.
YOUNG = 50_000


def put_off() -> None:
    """Look for none while a server loads what it is made of, all of which stays; see `settle`."""
    gc.disable()


def settle() -> None:
    """Leave out what is there now for good, as a server does that is about to accept."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)
    gc.enable()
