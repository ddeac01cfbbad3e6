"""The benchmarks run at their quick size, check their results and write what they promise; nothing here is timed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("unoptimized")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts import each other by plain names, as Python has it for a script's folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "columns", "summary"),
    [
        (
            "throughput",
            ["seconds", "ns/sample/net", "ratio", "paper run, s"],
            ["ratio to textbook, end to end", "training, % of sgemm", "information and records, % of the run"],
        ),
        ("information", ["ibjax, ms", "numpy, ms", "ratio"], ["least ratio at widths 3, 7, 12"]),
        ("scaling", ["seconds", "compile, s", "peak memory, MiB"], ["most seeds", "their peak memory, MiB"]),
        ("walks", ["seconds", "ms/move, 50 networks", "ratio"], ["a sweep over as many forward passes"]),
    ],
)
def test_quick_benchmark(name: str, columns: list[str], summary: list[str], tmp_path: Path) -> None:
    path, picture = tmp_path / "results.json", tmp_path / "plot.png"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--json", str(path)]
    command += ["--plot", str(picture)] if name == "scaling" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert {"cpu", "cores", "device", "jax", "jaxlib", "numpy", "ibjax"} <= results["machine"].keys()
    assert results["rows"]
    for row in results["rows"]:
        assert row["agrees"] is True
        assert all(math.isfinite(row[column]) and row[column] > 0 for column in columns)
    assert results["summary"].keys() >= set(summary)
    assert "agrees" in done.stdout
    assert results["machine"]["jaxlib"] in done.stdout
    assert picture.exists() == (name == "scaling")


def test_numpy_reference_by_hand() -> None:
    from baselines import numpy_information

    # Four patterns, 30 cells; labels known with certainty, but for the third case.
    layers = np.array(
        [
            [[0.0, 0.0], [0.0, 0.0], [0.9, 0.0], [0.9, 0.0]],  # two cells, each of one label
            [[-1.0, 1.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],  # every pattern alone in its cell
            [[0.5, 0.5]] * 4,  # one cell
            [[0.0, 0.0], [0.9, 0.0], [0.0, 0.0], [0.9, 0.0]],  # two cells, both of mixed labels
        ]
    )
    i_xt, i_ty = numpy_information(layers, np.array([0.0, 0.0, 1.0, 1.0]))
    np.testing.assert_allclose(i_xt, [1, 2, 0, 1], atol=1e-12)
    np.testing.assert_allclose(i_ty, [1, 1, 0, 0], atol=1e-12)


def test_textbook_starts_where_the_configuration_says() -> None:
    """Kernels of the textbook and of ibjax have one distribution: their check is of the same task or of nothing."""
    import jax
    from baselines import fan_in

    drawn = np.asarray(fan_in(jax.random.key(0), (16, 100_000)))
    # Standard deviation of a normal variable cut at 2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)); its sampling error is
    # below 1/sqrt(2 x 1.6e6) = 6e-4 of it.
    cut = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
    assert abs(drawn).max() <= 2 / 4
    assert drawn.std() == pytest.approx(cut / 4, rel=4 * 6e-4)


def test_ensembles_that_differ_are_told_apart() -> None:
    from throughput import STANDARD_ERRORS, Outcome, errors_apart

    rng = np.random.default_rng(0)

    def ensemble(loss: float, bits: float) -> Any:
        return Outcome(rng.normal(loss, 0.1, 50), rng.normal([12.0, bits], [0.0, 0.5], (50, 2)))

    reference = ensemble(0.3, 5.0)
    assert errors_apart(reference, reference) == 0
    assert errors_apart(ensemble(0.3, 5.0), reference) < STANDARD_ERRORS
    assert errors_apart(ensemble(0.3, 5.8), reference) > STANDARD_ERRORS  # 0.8 bits are 8 errors of 0.5 sqrt(2/50)
    assert errors_apart(ensemble(0.5, 5.0), reference) > STANDARD_ERRORS
    assert errors_apart(reference._replace(train_loss=np.full(50, np.nan)), reference) == math.inf


def test_a_straight_line_is_found() -> None:
    from scaling import line

    rows = [{"varies": "seeds", "value": n, "seconds": 0.5 + 0.01 * n} for n in (10, 100, 1000)]
    outlier = {"varies": "seeds", "value": 1, "seconds": 9.0}
    assert line([outlier, *rows], "seeds", 10, "seconds") == pytest.approx((0.5, 0.01, 0.0), abs=1e-9)
    assert line(rows, "width", 0, "seconds") is None
    fit = line([outlier, *rows], "seeds", 0, "seconds")
    assert fit is not None
    assert fit[2] > 0.1


def test_turns_are_taken_and_the_median_reported() -> None:
    from harness import take_turns

    order: list[str] = []
    timings = take_turns({name: lambda name=name: order.append(name) or name for name in "ab"}, 3)  # type: ignore[misc,func-returns-value]
    assert order == list("ab" * 4)  # one turn to warm up
    assert [len(timing.turns) for timing in timings.values()] == [3, 3]
    assert timings["b"].result == "b"
    assert timings["b"].seconds == sorted(timings["b"].turns)[1]


def test_results_hold_no_nan(tmp_path: Path) -> None:
    from harness import report

    with pytest.raises(ValueError, match="JSON"):
        report([{"row": "a", "seconds": float("nan")}], {}, str(tmp_path / "results.json"))
