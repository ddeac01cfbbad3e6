"""A fast mutation run: small errors put into copies of the tree one by one, each of which the named tests must find.

    python tests/mutants.py              # all: a quarter of an hour on two cores
    python tests/mutants.py checkpoint   # those of the files whose name has this in it

It says of each whether it was killed, and ends with status 1 where one survived its tests or they took more than two
minutes. A new test that guards what no other does should have a mutant here that it alone kills.

The list is hand-picked, where a wrong number would be worst and least visible. A generator such as mutmut makes thousands
of mutants, each waiting for the compiler, and runs them in forks of a process that has loaded JAX, where `ibjax.run`
refuses to train.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("ibjax", "tests", "pyproject.toml")
_SECONDS = 120


class Mutant(NamedTuple):
    """One error.

    Attributes:
      file: in which file of `ibjax/`.
      old: text that occurs once there.
      new: what stands there instead.
      tests: of `tests/`, as pytest names them, separated by spaces.
    """

    file: str
    old: str
    new: str
    tests: str


MUTANTS = ()


def faults(mutant: Mutant) -> list[str]:
    """What is no longer true of an entry of the list."""
    text = (ROOT / "ibjax" / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        return [f"ibjax/{mutant.file}: {count} times {mutant.old!r}; allowed: once"]
    ast.parse(text.replace(mutant.old, mutant.new))
    return [f"tests/{test} is no test" for test in mutant.tests.split() if not _exists(test)]


def _exists(test: str) -> bool:
    file, *names = test.partition("[")[0].split("::")
    path = ROOT / "tests" / file
    nodes = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
    for name in names:
        found = [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
        nodes = found[0].body if found else []
    return bool(nodes)


def outcome(tests: str, mutant: Mutant | None = None) -> str:
    """What tests say of a copy of the tree with a mutant in it: "passed", "failed", or what else went wrong."""
    with tempfile.TemporaryDirectory(prefix="ibjax_mutant_") as folder:
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder, name))
        if mutant is not None:
            path = Path(folder, "ibjax", mutant.file)
            path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-x", *(f"tests/{test}" for test in tests.split())]
        environment = {**os.environ, "PYTHONPATH": folder}
        seconds = None if mutant is None else _SECONDS
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return f"undecided after {_SECONDS} s"
    return {0: "passed", 1: "failed"}.get(done.returncode, done.stdout[-2000:] + done.stderr[-2000:])


def main(words: list[str]) -> int:
    """The run; its exit status."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.file for word in words)]
    if wrong := [fault for mutant in chosen for fault in faults(mutant)]:
        print("\n".join(wrong))
        return 1
    with tempfile.TemporaryDirectory(prefix="ibjax_mutants_") as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache  # what a mutant leaves alone is compiled once
        tests = " ".join(sorted({test for mutant in chosen for test in mutant.tests.split()}))
        if (unchanged := outcome(tests)) != "passed":
            print(f"the tests do not pass without a mutant: {unchanged}")
            return 1
        with futures.ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
            survivors = sum(pool.map(_report, chosen))
    print(f"{len(chosen) - survivors} of {len(chosen)} killed")
    return int(survivors > 0)


def _report(mutant: Mutant) -> bool:
    """Tries a mutant and says what came of it; whether it survived."""
    began = time.monotonic()
    found = outcome(mutant.tests, mutant)
    word = {"failed": "killed", "passed": "SURVIVED"}.get(found, found)
    print(f"{word} ({time.monotonic() - began:.0f} s) ibjax/{mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    return found != "failed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
