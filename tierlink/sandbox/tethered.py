"""`python -m tierlink.sandbox.tethered up`: `tierlink up`, for as long as who started it is there.

Its standard input is a pipe that nobody writes to. When the other end is closed, also because its
process was killed, the command is told to end as by SIGTERM: no node outlives its network.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading

_STDIN = 0


def tether() -> None:
    """Watch standard input, which nothing that is started from here gets to see."""
    pipe = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    threading.Thread(target=_watch, args=(pipe,), name="tether", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 512):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    tether()
    runpy.run_module("tierlink", run_name="__main__")
