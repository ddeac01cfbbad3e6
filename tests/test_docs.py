"""README and documentation: their Python runs, their links lead somewhere, what they say of the code is true.

Code cells are run when the documentation is built (see `docs/conf.py`), where one that fails is an error. Those of a
page that needs a framework are run here too, as a build without it leaves them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pytest
from conftest import missing

import ibjax
from ibjax.cli.main import main

pytestmark = pytest.mark.usefixtures("unoptimized")

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]

FENCE = re.compile(r"^```(?P<language>\{?[\w-]+\}?)?.*\n(?P<body>(?:.*\n)*?)```$", re.MULTILINE)
FRAMEWORK = re.compile(r"^(?:import|from) (torch|keras)\b", re.MULTILINE)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)|^```\{include\} (?P<directive>\S+)$", re.MULTILINE)


class Block(NamedTuple):
    """A piece of Python, where it stands, and the frameworks without which it does not run."""

    line: int
    source: str
    frameworks: list[str]


def python_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    fences = list(FENCE.finditer(text))
    of_cells = FRAMEWORK.findall("".join(fence["body"] for fence in fences if fence["language"] == "{code-cell}"))
    for fence in fences:
        line = text[: fence.start("body")].count("\n")
        if fence["language"] == "python":
            yield Block(line, fence["body"], FRAMEWORK.findall(fence["body"]))
        elif fence["language"] == "{code-cell}" and of_cells:
            yield Block(line, re.sub(r"^(?=%)", "# ", fence["body"], flags=re.MULTILINE), of_cells)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(python_of(page))], ids=name_of)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands: one namespace for each page, in an empty folder; without a framework, the other blocks."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    namespace: dict[str, Any] = {"__name__": page.stem.replace("-", "_")}
    left_out = []
    for block in python_of(page):
        if without := missing(*block.frameworks):
            left_out.append(f"line {block.line}: {', '.join(without)} not installed")
            continue
        # As many empty lines above it as in the page, so that an error names the page's line.
        exec(compile("\n" * block.line + block.source, page, "exec"), namespace)
    if left_out:
        pytest.skip("; ".join(left_out))


def commands_of(page: Path) -> Iterator[list[str]]:
    """Words of every `ibjax ...` in the indented blocks of a page, without comments."""
    for block in INDENTED.finditer(FENCE.sub("", page.read_text())):
        for line in block[0].splitlines():
            for command in re.findall(r"(?:^|/)ibjax ([a-z].*)", line.split("  #")[0].strip()):
                yield command.split()


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands_of(page))], ids=name_of)
def test_options_of_the_command_line_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, *words in commands_of(page):
        # What options `measure` has depends on the estimator.
        first = words.index("--estimator") if "--estimator" in words else len(words)
        assert main([command, *words[first : first + 2], "--help"]) == 0, command
        shown = capsys.readouterr().out
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", shown), f"ibjax {command} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = [match["target"] or match["directive"] for match in LINK.finditer(FENCE.sub(_directives, text))]
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def _directives(fence: re.Match[str]) -> str:
    """Code holds no links; included files are directives, which do."""
    return fence[0] if fence["language"] in ("{include}") else ""


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_promises_name_tests_that_exist() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
    page = (ROOT / "docs" / "reference" / "promises.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`((?:tests/)?(?:test_\w+(?:\.py)?|Test\w+))`", row)
        assert named, row
        for name in named:
            defined = re.compile(rf"^ *(?:def|class) {name}\b", re.MULTILINE)
            assert name.removeprefix("tests/") in sources or any(map(defined.search, sources.values())), name


def rows_of(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


def test_the_readme_tells_five_claims_as_they_were_measured() -> None:
    table = rows_of((ROOT / "experiments" / "figures" / "claims.md").read_text())
    measured = {(row[1], row[3], row[6], row[7]) for row in table if row[0].isdigit()}
    assert len(measured) > 20
    assert len({tuple(row) for row in rows_of(README.read_text())} & measured) == 5


def test_the_results_show_every_figure_of_the_experiments() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("results.md", "relaxation.md"))
    for figure in (ROOT / "experiments" / "figures").glob("*.png"):
        assert f"(../experiments/figures/{figure.name})" in page, figure.name


def test_the_readme_is_short_and_holds_the_two_commands() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    commands = [line for line in lines if re.match(r"^    python3 -m venv .venv && ", line)]
    assert [command.split(" && ")[-1].strip() for command in commands] == [
        ".venv/bin/ibjax run --out paper.npz",
        ".venv/bin/python -m pytest",
    ]


def test_the_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {ibjax.__version__}\n" in citation
    assert f"## {ibjax.__version__}" in (ROOT / "docs" / "changelog.md").read_text()


def test_every_public_name_is_in_the_api_pages() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    for module in (ibjax, ibjax.analysis, ibjax.bottleneck, ibjax.figures):
        for name in module.__all__:
            assert re.search(rf"(?:auto\w+:: |automodule:: )(?:[\w.]+\.)?{name}$", pages, re.MULTILINE), name
