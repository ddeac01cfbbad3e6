"""`ibjax` among the programs of a shell: Ctrl-C while it starts."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

START = """
import gc, os, signal, sys
signal.signal(signal.SIGINT, signal.{handler})  # whatever the tests' own process inherited

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            if {collecting}:  # what is raised in there is printed and dropped
                gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGINT))
                gc.collect()
                gc.callbacks.clear()
            else:
                os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = ["--version"]
from ibjax.cli import entry_point
entry_point()
"""


def start(module: str, *, collecting: bool = False, handler: str = "default_int_handler") -> tuple[int, str, str]:
    """Status and words of `ibjax --version`, with a Ctrl-C as it begins to import a module."""
    code = START.format(module=module, collecting=collecting, handler=handler)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("collecting", [False, True])
@pytest.mark.parametrize("module", ["ibjax._workers", "numpy", "scipy.special", "ibjax.cli.train"])
def test_an_interrupt_during_the_imports_is_quiet(module: str, collecting: bool) -> None:
    assert start(module, collecting=collecting) == (130, "", "")


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    """As after `nohup`, or of the background jobs of a script."""
    status, said, errors = start("numpy", handler="SIG_IGN")
    assert (status, errors) == (0, "")
    assert said.startswith("ibjax ")


def test_an_interrupt_that_the_program_cannot_tell_of_any_more_is_quiet() -> None:
    code = (
        "import signal, sys; from unittest import mock; import ibjax.cli.main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with mock.patch('ibjax.cli.main.main', lambda: signal.raise_signal(signal.SIGINT)):\n"
        "    ibjax.cli.entry_point()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_little_is_imported_before_an_interrupt_is_seen_to() -> None:
    code = (
        "import sys; import ibjax.cli; "
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] in ('ibjax', 'numpy', 'scipy', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["ibjax", "ibjax.cli"]
