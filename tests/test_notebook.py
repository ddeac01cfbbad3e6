"""What a notebook shows: of a trajectory its summary, of a run one line that grows. In a real kernel where told."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import synthetic_trajectory

import ibjax
from ibjax.trajectory import Trajectory, summary


def parsed(trajectory: Trajectory) -> ElementTree.Element:
    """The summary, which is also XML: nothing in it is left open, nothing unescaped."""
    return ElementTree.fromstring(trajectory._repr_html_())


def test_another_estimator_is_named() -> None:
    trajectory = synthetic_trajectory()
    extras = {"i_xt_soft": trajectory.i_xt / 2, "i_ty_soft": trajectory.i_ty / 2}
    soft = replace(trajectory, extras=extras).of_estimator("soft")
    assert "[bits], soft" in "".join(parsed(soft).itertext())
    assert "[bits]" in "".join(parsed(trajectory).itertext())
    assert "histogram" not in "".join(parsed(trajectory).itertext())


def test_the_table_says_where_each_layer_ends() -> None:
    trajectory = synthetic_trajectory(diverged=(2,))
    rows = [[cell.text or cell[0].tail for cell in row] for row in parsed(trajectory).findall(".//tbody/tr")]
    assert [row[1] for row in rows] == [str(width) for width in trajectory.layer_widths]
    healthy = [0, 1, 3, 4, 5]
    for column, array in ((2, trajectory.i_xt), (3, trajectory.i_ty)):
        assert [float(row[column] or "") for row in rows] == pytest.approx(array[healthy, -1].mean(axis=0), abs=6e-4)
    text = "".join(parsed(trajectory).itertext())
    assert repr(trajectory) in text
    assert "1 of 6 networks diverged" in text
    assert "I(X;Y) 0.9900, H(X) 12.0000, H(Y) 0.9992 bits" in text


def test_the_picture_is_the_plane_to_scale() -> None:
    picture = parsed(synthetic_trajectory()).find(".//svg")
    assert picture is not None
    lines = [line.attrib["points"].split() for line in picture.iter("polyline")][::-1]  # the last layer lies below
    assert [len(line) for line in lines] == [40] * 4
    x, y = np.array([line[-1].split(",") for line in lines], float).T
    mean = synthetic_trajectory().i_xt[:, -1].mean(axis=0)
    assert (x - 48) / (x[0] - 48) == pytest.approx(mean / mean[0], abs=1e-3)
    assert (np.diff(y) > 0).all()  # deeper layers know less of Y, and SVG counts downwards


def test_a_name_is_no_markup() -> None:
    name = "<script>alert('&')</script>"
    trajectory = replace(synthetic_trajectory(), layer_names=(name, "h2", "h3", "output"))
    assert "<script" not in trajectory._repr_html_()
    assert name in "".join(parsed(trajectory).itertext())


def test_a_layer_at_h_x_is_told() -> None:
    assert "within 10% of H(X) at the end: h1;" in "".join(parsed(synthetic_trajectory()).itertext())
    wider = replace(synthetic_trajectory(), h_x=14.0)
    assert "of H(X) at the end" not in wider._repr_html_()


@pytest.mark.parametrize("damage", ["diverged", "nan", "infinite", "negative", "zero"])
def test_values_that_cannot_be_drawn(damage: str) -> None:
    trajectory = synthetic_trajectory(diverged=tuple(range(6)) if damage == "diverged" else ())
    i_xt = np.array(trajectory.i_xt)
    i_xt[..., 1] = {"nan": np.nan, "infinite": np.inf, "negative": -3.0, "zero": 0.0}.get(damage, 1.0)
    changed = replace(trajectory, i_xt=i_xt)
    lines = list(parsed(changed).iter("polyline"))
    assert len(lines) == {"diverged": 0, "nan": 3, "infinite": 3}.get(damage, 4)
    assert not re.search(r"nan|inf", "".join(str(line.attrib) for line in lines))


def test_a_large_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        synthetic_trajectory().of_seeds([seed]).save(tmp_path / f"{seed}.npz")
    folder = ibjax.load(tmp_path)
    monkeypatch.setattr(summary, "_MOST", 2 * 40 * 4 - 1)
    monkeypatch.setattr(type(folder), "_joint_array", lambda *_: pytest.fail("an array was read"))
    text = folder._repr_html_()
    assert "<svg" not in text
    assert "streamed_mean" in text


def executed(*cells: str) -> list[list[Any]]:
    """The outputs of cells, run in a kernel of their own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return [cell.outputs for cell in notebook.cells]


def test_in_a_kernel(trajectory: Trajectory, tmp_path: Path) -> None:
    """A bar is one output however often it moves, and ends where the run does; a trajectory is shown as HTML."""
    trajectory.save(tmp_path / "run.npz")
    bar, shown = executed(
        "import time\n"
        "from ibjax.progress import Progress, bar\n"
        "with bar() as report:\n"
        "    for done in range(61):\n"
        "        report(Progress(done, 60, 600, 10 * done, 0.5, 2.0, 0, 3.0))\n"
        "        time.sleep(0.02)\n",
        f"import ibjax\nibjax.load({str(tmp_path / 'run.npz')!r})",
    )
    assert [output.output_type for output in bar] == ["display_data"]
    line = bar[0].data["text/plain"]
    assert "600/600" in line
    assert "I(X;T) 2.00 bits" in line
    assert "\n" not in line
    assert shown[0].data["text/html"] == trajectory._repr_html_()
