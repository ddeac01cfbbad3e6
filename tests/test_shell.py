"""`ibjax` among the programs of a shell: Ctrl-C while it starts, and what is offered when Tab is pressed.

The shells are real ones; zsh and fish only where they are installed.
"""

from __future__ import annotations

import functools
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ibjax.cli.completion import SHELLS
from ibjax.cli.main import main
from ibjax.information.estimator import ESTIMATORS

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


def test_an_interrupt_before_any_command_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the options are made, of which `run` has many."""
    monkeypatch.setattr("ibjax.cli.main.add_fields", lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["info", "run.npz"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "")


def test_little_is_imported_before_an_interrupt_is_seen_to() -> None:
    code = (
        "import sys; import ibjax.cli; "
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] in ('ibjax', 'numpy', 'scipy', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["ibjax", "ibjax.cli"]


@functools.cache
def script_of(shell: str) -> str:
    """What `ibjax completion` prints, by a process of its own: it must not warn, nor print anything else."""
    command = [sys.executable, "-m", "ibjax", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stderr == ""
    return done.stdout


def offered_by_bash(line: str) -> set[str]:
    """What the function that bash was told to call replies."""
    code = """
        source ./script
        read -r -a COMP_WORDS <<< "$1"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        set -- $(complete -p ibjax)
        while [[ $1 != -F ]]; do shift; done
        $2 ibjax 2> /dev/null  # outside of a completion it cannot set options of it
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", code, "bash", line], capture_output=True, text=True, timeout=50, check=True)
    assert done.stderr == ""
    return set(done.stdout.splitlines())


def offered_by_fish(line: str) -> set[str]:
    code = f"source ./script; complete -C '{line}'"
    done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, timeout=50, check=True)
    return {row.partition("\t")[0].removesuffix("/") for row in done.stdout.splitlines()}


def offered_by_zsh(line: str) -> set[str]:
    """zsh completes at a terminal only: as its editor begins, it has the line, notes the words it lists, and leaves."""
    Path("asking").write_text(
        """
        autoload -U compinit; compinit -u -D; eval "$(< script)"
        compadd() {
            builtin compadd "$@"; local status_=$?
            if [[ ${@[1,(i)(-|--)]} != *-[OAD]* ]]; then
                local -a words; builtin compadd -O words "$@"; print -lr -- $words >> offered
            fi
            return $status_
        }
        zle-line-init() { BUFFER=$ASKED; CURSOR=$#BUFFER; zle list-choices; exit }
        zle -N zle-line-init
        """
    )
    offered = Path("offered")
    offered.write_text("")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "ASKED": line}
    ) as zsh:
        os.close(theirs)
        os.write(ours, b"source ./asking\n")
        try:
            assert zsh.wait(timeout=50) == 0
        finally:
            zsh.kill()
            os.close(ours)
    return set(offered.read_text().split())


ASK: dict[str, Callable[[str], set[str]]] = {"bash": offered_by_bash, "zsh": offered_by_zsh, "fish": offered_by_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("shtab")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.chdir(tmp_path)
    Path("script").write_text(script_of(shell))
    Path("run.npz").touch()
    Path("folder").mkdir()
    ask = ASK[shell]
    for line, wanted, unwanted in (
        ("ibjax ", {"run", "config", "measure", "completion"}, {"run.npz"}),
        ("ibjax plot --f", {"--format", "--force"}, {"--out", "run.npz"}),
        ("ibjax plot --format ", {"png", "pdf", "svg"}, {"run.npz"}),
        ("ibjax plot ", {"run.npz", "folder"}, set()),
        ("ibjax plot --out ", {"folder"}, {"run.npz"}),
        ("ibjax info run.npz ", {"run.npz", "folder"}, set()),
        ("ibjax run --preset ", {"paper", "quick"}, {"run.npz"}),
        ("ibjax config --compat ", {"idnns", "none"}, {"run.npz"}),
        ("ibjax run --dataset ", {"spherical", "run.npz"}, set()),
        ("ibjax bound ", {"spherical", "run.npz"}, set()),
        ("ibjax measure run.npz --estimator ", set(ESTIMATORS), {"run.npz"}),
        ("ibjax measure run.npz --noise-", {"--noise-variance", "--noise-std"}, {"--estimator"}),
    ):
        offered = ask(line)
        assert wanted <= offered, (line, offered)
        assert not unwanted & offered, (line, offered)


def test_completion_without_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'ibjax[completion]'" in capsys.readouterr().err


def test_completion_costs_other_commands_nothing() -> None:
    code = "import sys; from ibjax.cli.main import main; main(['--help']); assert 'shtab' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=100, check=True)
