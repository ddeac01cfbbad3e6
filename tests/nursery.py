"""Processes of the command line for tests that end them, forked with the slow imports done but before JAX is at work.

    python nursery.py COMMAND ...

Then, on standard input, lines "INDEX BLOCK FOLDER": a process in that folder, which says so at its INDEX-th fsync and,
where BLOCK is 1, stays there until it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import flax.linen
import optax

_SLOW_IMPORTS = (flax.linen, optax)


def child(index: int, block: bool) -> int:
    calls, sync = [0], os.fsync

    def fsync(fd: Any) -> None:
        calls[0] += 1
        if calls[0] == index:
            os.write(1, b"sync\n")
            if block:
                time.sleep(600)
        sync(fd)

    os.fsync = fsync
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let their background jobs ignore it
    from ibjax.cli.main import main

    return main(sys.argv[1:])


for line in sys.stdin:
    index, block, folder = line.rstrip("\n").split(" ", 2)
    if pid := os.fork():
        os.write(1, f"pid {pid}\n".encode())
        os.write(1, f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    else:
        os.chdir(folder)
        os._exit(child(int(index), block == "1"))
