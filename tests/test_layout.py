"""The layout of the library: which way imports go, and how long files and functions may be.

A file of more than 300 lines, or a function of more than 60, says why in its docstring, after the words "long because".
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "ibjax").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_MODULES = 300, 60, 9
REASON = "long because"
DELAYED = (
    "matplotlib",
    "pandas",
    "xarray",
    "flax",
    "sklearn",
    "scipy.io",
    "distributed",
    "pyarrow",
    "PIL",
    "shtab",
    "tensorboardX",
    "ibjax.reporting.page",
    "ibjax.cli.main",
    "ibjax._workers.interrupted_threads",
)
"""What is slow to import, or optional, or comes after Ctrl-C is seen to, which a function may therefore import."""
NOT_EVERYWHERE = ("fcntl",)
"""Modules that not every system has."""


class Local(NamedTuple):
    """An import inside a function: where it is, what it imports, and its lines with the one above."""

    place: str
    module: str
    text: str


def local_imports(path: Path) -> Iterator[Local]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for function in functions(path):
        for node in ast.walk(function):
            if isinstance(node, ast.Import | ast.ImportFrom):
                text = "\n".join(lines[max(node.lineno - 2, 0) : node.end_lineno])
                package = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    yield Local(f"{path.relative_to(ROOT)}:{node.lineno}", package + alias.name, text)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_imports_go_one_way() -> None:
    """The contracts of pyproject.toml."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"Contracts: {len(contracts)} kept, 0 broken" in done.stdout


def test_imports_inside_functions_only_delay_what_is_slow() -> None:
    """Each says so in a comment; the compiler itself is delayed by the command line only."""
    found = [local for path in FILES for local in local_imports(path)]
    assert found, "the search finds nothing any more"
    wrong = [
        f"{place} {module}"
        for place, module, text in found
        if not (
            any(module == name or module.startswith(f"{name}.") for name in DELAYED + NOT_EVERYWHERE)
            or (module == "jax" and place.startswith("ibjax/cli/"))
        )
    ]
    assert not wrong, "\n".join(wrong)
    silent = [f"{place} {module}: no comment" for place, module, text in found if "#" not in text]
    assert not silent, "\n".join(silent)


def test_only_the_command_line_imports_the_library_as_a_whole() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        if path.parent.name != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "ibjax" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.level)
    ]
    assert not wrong, "\n".join(wrong)


def test_long_files_say_why() -> None:
    wrong = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > LONGEST_FILE and REASON not in (
            ast.get_docstring(ast.parse(text)) or ""
        ):
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_long_functions_say_why() -> None:
    wrong = []
    for path in FILES:
        for node in functions(path):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION and REASON not in (ast.get_docstring(node) or ""):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda folder: folder.name)
def test_folders_are_small(folder: Path) -> None:
    modules = [path.name for path in FILES if path.parent == folder and not path.name.startswith("__")]
    assert len(modules) <= MOST_MODULES, modules
