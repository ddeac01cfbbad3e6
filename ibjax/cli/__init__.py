"""The command line, and the program's start, which imports next to nothing before it takes care of Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells do."""


def entry_point() -> NoReturn:
    """The program `ibjax`.

    While its modules are imported Ctrl-C ends it at once: there is nothing to tidy up, and an exception would be lost
    in one of the callbacks that imports have, or be told with its traceback. Python's own start comes before.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not with nohup, say, where it is ignored
    if ours:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from ibjax._workers import interrupted_threads  # here, as what follows: nothing before Ctrl-C is seen to
    from ibjax.cli.main import main  # NumPy and SciPy, most of the time until a help is shown

    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left to do may be cut short, and without a word
    except KeyboardInterrupt:  # before `main` could say anything, or while it did
        status = INTERRUPTED
    sys.stdout.flush()
    if interrupted_threads():  # what they are at is of no use to anybody, and Python would wait for it
        os._exit(status)
    sys.exit(status)
