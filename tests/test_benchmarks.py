"""The benchmarks run at their quick size, check their own results, and write what they promise."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("throughput", ["seconds", "ns/sample/net", "ratio", "paper run, s"]),
        ("information", ["ibjax, ms", "numpy, ms", "ratio"]),
        ("scaling", ["seconds", "peak memory, MiB"]),
    ],
)
def test_quick_benchmark(name: str, columns: list[str], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(path.read_text())
    assert {"cpu", "cores", "device", "jax", "jaxlib", "ibjax"} <= results["machine"].keys()
    assert results["rows"]
    for row in results["rows"]:
        assert row["agrees"] is True
        assert all(math.isfinite(row[column]) and row[column] > 0 for column in columns)
