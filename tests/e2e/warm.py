"""The command line from processes that need not import it: each is the fork of one that has.

A call is a process of its own, with arguments, environment, input, output and exit code as from a
shell; what it saves is most of a second of imports. That `tierlink` starts from nothing is seen
wherever a node is started.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

_PRELOADED = [
    "tierlink.cli", "tierlink.client", "tierlink.keyfile", "tierlink.custody", "tierlink.imports",
    "schemas.proof", "httpx", "rich.console", "rich.table",
]  # fmt: skip
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOADED)


def call(arguments, environment, stdin: bytes | None, seconds: float):
    """Run the command line; return what `subprocess.run` would, with captured output."""
    with tempfile.TemporaryDirectory(prefix="tl-cli-") as folder:
        given, said, told = (Path(folder) / name for name in ("stdin", "stdout", "stderr"))
        given.write_bytes(stdin or b"")
        process = _context.Process(
            target=_main, args=(arguments, environment, str(given), str(said), str(told))
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, seconds)
        return subprocess.CompletedProcess(
            arguments, process.exitcode, said.read_bytes(), told.read_bytes()
        )


def _main(arguments, environment, given, said, told):
    for number, path, flags in (
        (0, given, os.O_RDONLY),
        (1, said, os.O_WRONLY | os.O_CREAT),
        (2, told, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["tierlink", *arguments]
    code = 1
    try:
        from tierlink.cli import main  # noqa: PLC0415

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (told as the interpreter tells it)
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
