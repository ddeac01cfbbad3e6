"""`ibjax completion`: a script by which a shell completes the words of `ibjax`, without calling it.

shtab makes it from the parser. Here is what the parser does not tell: which names are allowed, for they are refused
with the nearest right one by `Config` and not by argparse, and where a file is meant.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from ibjax.cli.options import UsageError, flag
from ibjax.config import Config
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import ESTIMATORS, estimator_class
from ibjax.presets import PRESETS

SHELLS = ("bash", "zsh", "fish")
"""Those for which `_names_or_files` has the words."""


def completion(arguments: argparse.Namespace) -> int:
    """The script of a shell."""
    try:
        import shtab  # here: an extra
    except ModuleNotFoundError as error:
        message = "completion needs shtab, which is not installed; allowed: pip install 'ibjax[completion]'"
        raise UsageError(message) from error
    commands = arguments.commands
    commands["measure"].description = None  # shells show one line, and take the description for it
    _add_options_of_estimators(commands["measure"])
    names = _names()
    for command in commands.values():
        for action in command._actions:
            action.help = str(action.help or action.metavar).partition("; ")[0]
            if (complete := _complete(names.get(action.dest), str(action.metavar), shtab)) is not None:
                action.complete = complete
            elif action.dest in names:
                action.choices = names[action.dest]
    script = shtab.complete(arguments.parser, arguments.shell)
    # Where there may be several files shtab 1.13 lets zsh complete the first one only.
    print(script.replace('"(*):', '"*:') if arguments.shell == "zsh" else script)
    return 0


def _add_options_of_estimators(measure: argparse.ArgumentParser) -> None:
    """All of them: a script cannot know which estimator will be named."""
    of: dict[str, list[str]] = {}
    for estimator in ESTIMATORS:
        for field in dataclasses.fields(estimator_class(estimator)):
            of.setdefault(field.name, []).append(estimator)
    for name, estimators in of.items():
        measure.add_argument(flag(name), metavar="X", help=f"of {', '.join(estimators)}")


def _names() -> dict[str, tuple[str, ...]]:
    """What the fields of `Config` and of the estimators, and other options, may be called, by field."""
    names = {"preset": tuple(PRESETS), "estimator": ESTIMATORS, "of": DATASETS}
    kinds: Iterable[Any] = (*map(estimator_class, ESTIMATORS), Config)
    for field in (field for kind in kinds for field in dataclasses.fields(kind)):
        if "choices" in field.metadata:
            none = (field.metadata.get("none", "none"),) if field.default is None else ()
            names[field.name] = (*field.metadata["choices"], *none)
    return names


def _complete(names: tuple[str, ...] | None, metavar: str, shtab: Any) -> Any:
    """What shtab takes for a file, a folder, or a name or a file; None for anything else."""
    if names is not None:
        return _names_or_files(names) if "FILE" in metavar else None
    if any(word in metavar for word in ("FILE", "MOVIE", "PAGE")):
        return shtab.FILE
    return shtab.DIRECTORY if metavar == "DIR" else None


def _names_or_files(names: tuple[str, ...]) -> dict[str, Any]:
    """The form of shtab's own, by shell."""
    words = " ".join(names)
    bash = f'_ibjax_names_or_files() {{\n  compgen -W "{words}" -- "$1"\n  compgen -f -- "$1"\n}}'
    zsh = f'_ibjax_names_or_files() {{\n  _alternative "names:name:({words})" "files:file:_files"\n}}'
    return {
        "bash": "_ibjax_names_or_files",  # a name with "_file": bash then puts no space behind a folder
        "zsh": "_ibjax_names_or_files",
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "preamble": {"bash": bash, "zsh": zsh},
    }
