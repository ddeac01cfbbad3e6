"""The report: what is in the page, what no file can do to it, and what it refuses; the browser is in another file.

Shapes: S seeds, E logged epochs, L layers.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import json
import random
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import synthetic_trajectory
from test_cli import damage

import ibjax
from ibjax import Trajectory
from ibjax.analysis.statistics import mean_over_seeds
from ibjax.cli.main import main
from ibjax.reporting.colours import DARK, contrast, on_dark
from ibjax.reporting.contents import contents, epoch_places
from ibjax.reporting.findings import findings
from ibjax.reporting.report import MOST_NUMBERS
from ibjax.trajectory.provenance import in_words

HOSTILE = "</script><script>alert(1)</script>"


def data_of(page: Path) -> Any:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found[1])


def unpack(text: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


def with_everything(trajectory: Trajectory) -> Trajectory:
    """A second estimator, and the shares of cells with one pattern."""
    extras = {
        "i_xt_kde": trajectory.i_xt * np.float32(0.5),
        "i_ty_kde": trajectory.i_ty * np.float32(0.5),
        "i_xt_error_kde": trajectory.i_xt,
        "singleton_share": trajectory.i_xt / np.float32(12.0),
    }
    config = trajectory.config | {"estimators": {"kde": {"i_xt": "upper bound", "i_ty": "lower bound", "options": {}}}}
    return dataclasses.replace(trajectory, extras=extras, config=config)


def told(trajectory: Trajectory) -> list[tuple[str, str]]:
    """The findings, by their kind."""
    return [tuple(each) for each in contents("", trajectory, None, "")["findings"]]


def test_the_numbers_are_those_of_the_file(damaged: Trajectory, tmp_path: Path) -> None:
    path = ibjax.report(with_everything(damaged), tmp_path / "report.html", bound=False)
    (run,) = data_of(path)["contents"]
    assert run["epochs"] == damaged.epochs.tolist()
    assert [layer["name"] for layer in run["layers"]] == list(damaged.layer_names)
    assert [estimator["name"] for estimator in run["estimators"]] == ["histogram", "kde"]
    for estimator, share in zip(run["estimators"], (1.0, 0.5), strict=True):
        for key in ("i_xt", "i_ty"):
            values = getattr(damaged, key)
            np.testing.assert_array_equal(unpack(estimator[key], values.shape), values * np.float32(share))
            mean = mean_over_seeds(damaged, values * share)
            for end in ("mean", "low", "high"):
                series = unpack(estimator["over_epochs"][key][end], values.shape[1:])
                np.testing.assert_allclose(series, getattr(mean, end), rtol=1e-6)
    train = unpack(run["loss"]["parts"]["train"]["mean"], damaged.epochs.shape)
    np.testing.assert_allclose(train, mean_over_seeds(damaged, "train_loss").mean, rtol=1e-6)
    change = ibjax.analysis.phase_change(damaged)
    assert run["phase"]["epoch"] == change.network_epoch
    assert run["phase"]["place"] == pytest.approx(0.5 + np.log10(change.network_epoch))
    ratio = damaged.gradient_mean[damaged.healthy] / damaged.weight_norm[damaged.healthy]
    series = unpack(run["gradients"]["mean"]["mean"], ratio.shape[1:])
    np.testing.assert_allclose(series, np.exp(np.log(ratio.astype(np.float64)).mean(axis=0)), rtol=1e-5)


def test_epochs_stand_where_the_figures_have_them() -> None:
    """Of matplotlib's symmetric logarithm with half a decade between 0 and 1."""
    from matplotlib.scale import SymmetricalLogTransform

    epochs = np.array([0, 1, 2, 10, 10_000])
    theirs = SymmetricalLogTransform(10, 1.0, 0.5).transform(epochs)
    linear = 0.5 / (1 - 1 / 10)  # where it puts 1
    np.testing.assert_allclose(epoch_places(epochs)[2:] - 0.5, theirs[2:] - linear, rtol=1e-12)
    assert epoch_places(epochs).tolist()[:2] == [0.0, 0.5]


@pytest.mark.parametrize("L", [2, 5, 8, 12])
def test_layers_are_told_apart_on_a_dark_page_too(L: int) -> None:
    from matplotlib.colors import to_rgb

    from ibjax.figures.style import layer_colours

    dark = [on_dark(colour, k, L) for k, colour in enumerate(layer_colours(L))]
    ratios = [contrast(np.array(to_rgb(colour)), np.array(to_rgb(DARK))) for colour in dark]
    assert min(ratios) >= 3.0
    assert all(a > b for a, b in pairwise(ratios[:-1]))  # from the input on, but the output
    assert dark[-1] == "#ffffff"
    assert contrast(np.zeros(3), np.ones(3)) == pytest.approx(21.0)


def test_size_and_self_containment(tmp_path: Path) -> None:
    """50 networks, 250 epochs, 8 layers, less than 6 MB; nothing that a browser would fetch."""
    small = synthetic_trajectory(seeds=50, names=tuple("abcdefgh"))
    E = 250
    of_epoch = np.linspace(0, small.epochs.size - 1, E).astype(int)
    noise = np.random.default_rng(0).normal(0.0, 1e-3, (50, E, 8)).astype(np.float32)
    arrays = {
        key: getattr(small, key)[:, of_epoch] for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    } | {
        key: np.abs(getattr(small, key)[:, of_epoch] + noise)
        for key in ("i_xt", "i_ty", "gradient_mean", "gradient_std", "weight_norm")
    }
    path = ibjax.report(dataclasses.replace(small, epochs=np.arange(E), **arrays), tmp_path / "big.html", bound=False)
    assert 2e6 < path.stat().st_size < 6e6
    text = path.read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert html.unescape(policy[1]).startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    assert not re.search(
        r"<(?:link|iframe|object|embed|base|img)\b|<script[^>]+src|@import|url\(", text.split("<script>")[0]
    )


def test_words_of_files_are_escaped_everywhere(tmp_path: Path) -> None:
    run = synthetic_trajectory(names=(HOSTILE, "<b>", "&amp;", "out\u2028put"[:3]))
    config = {
        "config": {HOSTILE: HOSTILE, "dataset": HOSTILE},
        "measured": {"estimator": HOSTILE, "i_xt": HOSTILE, "i_ty": "exact"},
        "versions": {HOSTILE: HOSTILE},
        "command": [HOSTILE, "\ud800"],
    }
    runs = {HOSTILE: dataclasses.replace(run, config=config), "<i>": run}
    path = ibjax.report(runs, tmp_path / "report.html", title=HOSTILE, bound=False)
    text = path.read_text()
    assert "alert(1)" in text
    assert not re.search(r"<script>\s*alert|</script><script>alert", text)
    assert (
        len(re.findall(r"<script\b", re.sub(r"<script>.*?</script>", "<script></script>", text, flags=re.DOTALL))) == 3
    )
    assert "<i>" not in text.split("<script>")[0]
    assert data_of(path)["contents"][0]["layers"][0]["name"] == HOSTILE


ABSENT: tuple[tuple[tuple[str, ...], set[str]], ...] = (
    (("gradient_mean",), {"gradients"}),
    (("weight_norm",), set()),
    (("train_loss", "test_loss"), {"loss"}),
    (("test_accuracy",), set()),
    (
        ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "gradient_mean", "gradient_std", "weight_norm"),
        {"loss", "accuracy", "gradients"},
    ),
)


@pytest.mark.parametrize(("absent", "left_out"), ABSENT, ids=lambda value: "-".join(sorted(value)) or "none")
def test_absent_arrays_leave_their_panel_out(
    absent: tuple[str, ...], left_out: set[str], trajectory: Trajectory, tmp_path: Path
) -> None:
    nothing: dict[str, Any] = dict.fromkeys(absent)
    path = ibjax.report(dataclasses.replace(trajectory, **nothing), tmp_path / "report.html", bound=False)
    (figures,) = data_of(path)["figures"]
    assert {"plane", "i_xt", "i_ty", "gradients", "loss", "accuracy"} - set(figures) == left_out
    words = re.sub(r"\s+", " ", path.read_text().split("<script")[0])
    for key in absent:
        assert key in words
    said = {"gradients": "Left out: gradient_mean is absent", "loss": "Loss left out: train_loss is absent"}
    for panel in left_out:
        assert said.get(panel, "Accuracy left out: train_accuracy is absent") in words
    assert ("They are not divided by the norm of the weights" in words) == (absent == ("weight_norm",))
    assert f"The training loop did not give {', '.join(dataclasses.replace(trajectory, **nothing).absent)}." in words


def test_a_recorders_file_with_its_bound(tmp_path: Path) -> None:
    """Two epochs, gradients without weight norms, a label of its own: what is there is shown."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    recorder = ibjax.Recorder(labels, layer_names=("first", "last"))
    for epoch in range(2):
        layers = [np.round(rng.normal(size=(60, width))) for width in (3, 2)]
        recorder.log(epoch, dict(zip(("first", "last"), layers, strict=True)), loss={"train": 1.0})
    traj = recorder.trajectory()
    path = ibjax.report(traj, tmp_path / "report.html")
    (run,) = data_of(path)["contents"]
    assert run["loss"]["parts"].keys() == {"train"}
    curve = run["curve"]
    # Of deterministic labels the curve is the diagonal up to H(Y).
    np.testing.assert_allclose(curve["y"], np.minimum(curve["x"], traj.h_y), atol=1e-6)
    assert max(curve["x"]) >= traj.h_x - 1e-9


def test_runs_of_one_task_share_its_curve(
    trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refused(joint: Any) -> None:
        asked.append(joint.shape)
        raise ValueError("not in this test")

    monkeypatch.setattr("ibjax.reporting.report.information_curve", refused)
    named = dataclasses.replace(trajectory, config={"config": {"dataset": "spherical"}})
    path = ibjax.report(named, tmp_path / "one.html")
    assert asked == [(4096, 2)]
    assert "that of the file&#39;s task cannot be computed: not in this test" in path.read_text()
    path = ibjax.report({"a": trajectory, "b": named}, tmp_path / "two.html", bound=False)
    assert len(asked) == 1
    assert path.read_text().count("No information curve: it was not asked for.") == 2
    path = ibjax.report(trajectory, tmp_path / "none.html")
    assert "No information curve: the file names no built-in task and holds no p_y_given_x." in path.read_text()


def test_no_description_of_a_run_ends_in_a_traceback(
    trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """80 damaged ones: each that is a trajectory at all becomes a page, whose data can be read."""
    monkeypatch.setattr("ibjax.reporting.page.plots", lambda content: {})  # which depend on no description
    config = trajectory.config | {"config": json.loads(json.dumps(dataclasses.asdict(ibjax.Config(seeds=6))))}
    config |= {"estimators": {"kde": {"i_xt": "exact", "options": {"bins": 30}}}, "measured": {"estimator": "kde"}}
    short = with_everything(trajectory).of_epochs([0, 10_000])
    rng, written = random.Random(5), 0
    for _ in range(80):
        try:
            run = dataclasses.replace(short, config=damage(copy.deepcopy(config), rng))
        except ibjax.TrajectoryError:
            continue
        page = ibjax.report(run, tmp_path / "report.html", bound=False)
        assert data_of(page)["contents"][0]["facts"]
        written += 1
    assert written > 20


class TestFindings:
    def test_nothing(self, trajectory: Trajectory) -> None:
        kept = dataclasses.replace(trajectory, i_xt=np.sort(np.float32(0.5) * trajectory.i_xt + 1, axis=2)[..., ::-1])
        level = dataclasses.replace(kept, i_ty=np.sort(trajectory.i_ty, axis=2)[..., ::-1])
        assert [entry for entry in told(level) if entry[0] == "warning"] == []

    def test_diverged(self, damaged: Trajectory) -> None:
        assert told(damaged)[0] == (
            "warning",
            "2 of 6 networks diverged and are left out of every mean: seeds 1, 4.",
        )

    def test_undersampled_by_the_share_of_cells(self, trajectory: Trajectory) -> None:
        share = np.zeros(trajectory.i_xt.shape, np.float32)
        share[:, -1, 1] = 0.75
        run = dataclasses.replace(trajectory, extras={"singleton_share": share})
        (text,) = [text for kind, text in told(run) if "Undersampled" in text]
        assert text.startswith("Undersampled at the end: h2 (75%) of the histogram's occupied cells hold one pattern.")

    def test_undersampled_by_the_share_of_h_x(self, trajectory: Trajectory) -> None:
        (text,) = [text for kind, text in told(trajectory) if "Undersampled" in text]
        assert text.startswith("Undersampled at the end: h1 (100%) of H(X)")

    def test_dead(self, trajectory: Trajectory) -> None:
        i_xt = trajectory.i_xt.copy()
        i_xt[2, -1, 3] = 0.0
        run = dataclasses.replace(trajectory, i_xt=i_xt)
        assert any(
            "1 of 6 networks are dead at the end, with a layer below 0.01 bits of I(X;T) (output): seed 2." in text
            for _, text in told(run)
        )

    def test_beyond_bounds_and_order(self, trajectory: Trajectory) -> None:
        i_xt = trajectory.i_xt * np.float32(2.0)
        run = dataclasses.replace(trajectory, extras={"i_xt_kde": i_xt, "i_ty_kde": trajectory.i_ty[..., ::-1].copy()})
        words = told(run)
        assert any(kind == "warning" and text.startswith("kde: values beyond what is possible") for kind, text in words)
        assert any(kind == "note" and "kde: the order of the layers is broken. I(T;Y)" in text for kind, text in words)
        assert [kind for kind, _ in words] == sorted((kind for kind, _ in words), reverse=True)

    def test_not_finite(self, trajectory: Trajectory) -> None:
        i_xt = trajectory.i_xt.copy()
        i_xt[0, 3, 1] = np.nan
        found = findings(trajectory, {"histogram": (i_xt, trajectory.i_ty)})
        assert any("histogram: 1 values of healthy networks are not finite" in finding.text for finding in found)


@pytest.mark.parametrize("seeds", [1, 2])
def test_all_diverged_or_one_seed(seeds: int, tmp_path: Path) -> None:
    lost = synthetic_trajectory(seeds=seeds, diverged=(0, 1))
    assert ibjax.report(lost, tmp_path / "lost.html", bound=False).stat().st_size > 1e6
    one = synthetic_trajectory(seeds=1).of_epochs([0])
    assert "means, no interval" in ibjax.report(one, tmp_path / "one.html", bound=False).read_text()


def test_what_is_refused(trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    wrong: tuple[tuple[Any, type[Exception], str], ...] = (
        ({}, ValueError, "trajectories is empty; allowed: at least one"),
        ([trajectory], TypeError, "allowed: a Trajectory, or a dict of them by label"),
        ({"a": 1}, TypeError, r"trajectories\['a'\] is of type int; allowed: a Trajectory"),
    )
    for given, error, words in wrong:
        with pytest.raises(error, match=words):
            ibjax.report(given, path)
    with pytest.raises(TypeError, match="bound = 1; allowed: True or False"):
        ibjax.report(trajectory, path, bound=1)  # type: ignore[arg-type]
    assert MOST_NUMBERS >= 2 * 50 * 250 * 8 * 5
    monkeypatch.setattr("ibjax.reporting.report.MOST_NUMBERS", 2 * 6 * 40 * 4 - 1)
    with pytest.raises(ValueError, match=r"the runs hold 1,920 numbers of information; allowed: 1,919 in a page"):
        ibjax.report(trajectory, path)
    assert list(tmp_path.iterdir()) == []


def test_without_bokeh(trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "bokeh" or name == "ibjax.reporting.page"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("ibjax.reporting.page", raising=False)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    with pytest.raises(ModuleNotFoundError, match=r"allowed: pip install 'ibjax\[report\]'"):
        ibjax.report(trajectory, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


class TestCommand:
    @pytest.fixture(autouse=True)
    def quiet_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")

    def test_two_files(self, trajectory: Trajectory, damaged: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        Path("other").mkdir()
        for path, run in (("a.npz", trajectory), ("b.npz", damaged), ("other/a.npz", damaged)):
            run.save(path)
        assert main(["report", "a.npz", "b.npz", "--no-bound"]) == 0
        assert capsys.readouterr() == ("report.html\n", "")
        assert [run["label"] for run in data_of(Path("report.html"))["contents"]] == ["a.npz", "b.npz"]
        assert main(["report", "a.npz", "other/a.npz", "--no-bound", "--out", "same.html"]) == 0
        assert [run["label"] for run in data_of(Path("same.html"))["contents"]] == ["a.npz", "other/a.npz"]

    def test_a_folder_of_files(self, trajectory: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        Path("many").mkdir()
        for number, seeds in enumerate(([0, 1, 2], [3, 4, 5])):
            trajectory.of_seeds(seeds).save(f"many/{number}.npz")
        assert main(["report", "many/", "--no-bound"]) == 0
        (run,) = data_of(Path("report.html"))["contents"]
        assert (run["label"], run["seeds"]) == ("many", trajectory.seeds.tolist())
        np.testing.assert_array_equal(unpack(run["estimators"][0]["i_xt"], trajectory.i_xt.shape), trajectory.i_xt)

    def test_an_existing_page_is_kept_without_force(
        self, trajectory: Trajectory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trajectory.save("a.npz")
        Path("report.html").write_text("old")
        assert main(["report", "a.npz"]) == 2
        assert "--out = 'report.html' exists; --force overwrites it" in capsys.readouterr().err
        assert Path("report.html").read_text() == "old"
        assert main(["report", "a.npz", "--force", "--no-bound"]) == 0
        assert data_of(Path("report.html"))["contents"][0]["label"] == "a.npz"

    def test_wrong_files_and_names(self, trajectory: Trajectory, capsys: pytest.CaptureFixture[str]) -> None:
        trajectory.save("a.npz")
        Path("text.npz").write_text("no zip")
        for words, message in (
            (["text.npz"], "text.npz"),
            (["a.npz", "missing.npz"], "cannot read 'missing.npz'"),
            (["a.npz", "--out", "page.pdf"], "--out = 'page.pdf'; allowed: a name that ends in .html"),
            (["a.npz", "a.npz"], "FILE holds 'a.npz' more than once"),
            (["a.npz", "--out", "nowhere/page.html"], "there is no folder"),
        ):
            assert main(["report", *words]) == 2, words
            assert message in capsys.readouterr().err
        assert sorted(path.name for path in Path().iterdir()) == ["a.npz", "text.npz"]

    def test_without_bokeh_it_says_what_to_install(
        self, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trajectory.save("a.npz")

        def missing() -> None:
            raise ModuleNotFoundError("a report needs bokeh; allowed: pip install 'ibjax[report]'", name="bokeh")

        monkeypatch.setattr("ibjax.reporting.report._page", missing)
        assert main(["report", "a.npz"]) == 2
        assert "pip install 'ibjax[report]'" in capsys.readouterr().err


def test_estimators_are_told_in_words() -> None:
    kde = {"i_xt": "upper bound", "i_ty": "estimate", "options": {"noise_variance": 0.1}}
    told = in_words({"kde": kde, "quantile": {"i_xt": "exact", "options": {}}})
    assert told == "kde (i_xt upper bound, i_ty estimate, options (noise_variance 0.1)), quantile (i_xt exact, options)"
