"""Figures: what is drawn is the data, it fits on the page, and it says how many networks it shows."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from conftest import synthetic_trajectory
from matplotlib.animation import FFMpegWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ibjax import figures, information_curve
from ibjax.analysis import phase_change
from ibjax.figures.movie import frame_indices
from ibjax.figures.style import epoch_colours, layer_colours, layer_looks, layer_markers, letter
from ibjax.trajectory import Trajectory, TrajectoryError
from ibjax.trajectory.schema import AXES, OPTIONAL

NAMES = (*(f"hidden {index}" for index in range(1, 8)), "output")


def snapshot(trajectory: Trajectory, *, ax: Axes | None = None) -> Axes:
    return figures.plane_snapshot(trajectory, 400, ax=ax)


Draw = Callable[..., Any]

ON_AXES: list[Draw] = [
    figures.gradients,
    figures.information_over_epochs,
    figures.loss_and_accuracy,
    figures.plane_trajectories,
    figures.snr,
    figures.weight_norms,
    snapshot,
]

CURVES: list[Draw] = [
    figures.gradients,
    figures.information_over_epochs,
    figures.loss_and_accuracy,
    figures.snr,
    figures.weight_norms,
]


def draw(figure: Any) -> None:
    FigureCanvasAgg(figure).draw()


def assert_on_the_page(figure: Any) -> None:
    """Everything drawn lies inside the figure, to a hundredth of an inch."""
    draw(figure)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


def points_of(ax: Any) -> list[Any]:
    return [part for part in ax.collections if isinstance(part, PathCollection)]


def lab(rgb: Any, vision: Any = None) -> Any:
    """CIELAB of sRGB colours, seen through a matrix on linear RGB; D65."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(np.eye(3) if vision is None else vision).T, 0.0, 1.0)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = seen @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def lightness(colours: list[str]) -> Any:
    return lab([to_rgb(colour) for colour in colours])[:, 0]


def letters(figure: Any) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text().startswith("(")]


@pytest.mark.parametrize("function", ON_AXES)
class TestEveryFigure:
    def test_new_figure_fits_a_column(self, function: Draw) -> None:
        ax = function(synthetic_trajectory(5, diverged=(3,), names=NAMES))
        assert ax.figure.get_size_inches()[0] == 3.4
        assert_on_the_page(ax.figure)
        assert "4 networks" in ax.get_title()
        assert "1 diverged left out" in ax.get_title()
        assert ax.get_xlabel() in ("epoch", "$I(X;T)$ [bits]")

    def test_axes_given_are_used(self, function: Draw, trajectory: Trajectory) -> None:
        figure = Figure()
        ax = figure.add_subplot()
        assert function(trajectory, ax=ax) is ax
        draw(figure)

    def test_one_seed(self, function: Draw) -> None:
        ax = function(synthetic_trajectory(1))
        draw(ax.figure)
        assert "1 network" in ax.get_title()
        assert "networks" not in ax.get_title()
        assert "diverged" not in ax.get_title()

    def test_all_diverged(self, function: Draw) -> None:
        ax = function(synthetic_trajectory(2, diverged=(0, 1)))
        draw(ax.figure)
        assert "0 networks" in ax.get_title()

    def test_without_epoch_0_and_with_one_epoch(self, function: Draw, trajectory: Trajectory) -> None:
        for part in (slice(1, None), slice(0, 1), slice(7, 8)):
            cut = replace(
                trajectory,
                epochs=trajectory.epochs[part],
                **{key: getattr(trajectory, key)[:, part] for key, axes in AXES.items() if axes.startswith("SE")},
            )
            draw(function(cut).figure)

    def test_settings_of_the_caller_stay(self, function: Draw, trajectory: Trajectory) -> None:
        before = dict(matplotlib.rcParams)
        function(trajectory)
        assert dict(matplotlib.rcParams) == before


def test_no_pyplot(tmp_path: Path, trajectory: Trajectory) -> None:
    """Not even after drawing: a program that manages its windows itself is left alone."""
    path = trajectory.save(tmp_path / "a.npz")
    code = (
        "import sys\n"
        "from ibjax import figures, trajectory\n"
        f"ax = figures.plane_trajectories(trajectory.load({str(path)!r}))\n"
        f"ax.figure.savefig({str(tmp_path / 'a.png')!r})\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


class TestPlane:
    def test_snapshot_draws_the_healthy_seeds_at_the_nearest_epoch(self, damaged: Trajectory) -> None:
        ax = figures.plane_snapshot(damaged, 400)
        assert ax.get_title().startswith("epoch 376: ")
        rows, index = [0, 2, 3, 5], damaged.epochs.tolist().index(376)
        assert len(ax.collections) == 4
        for layer, points in enumerate(ax.collections):
            expected = np.stack([damaged.i_xt[rows, index, layer], damaged.i_ty[rows, index, layer]], axis=1)
            np.testing.assert_array_equal(points.get_offsets(), expected)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$I(X;T)$ [bits]", "$I(T;Y)$ [bits]")

    def test_snapshots_share_axes_and_choose_epochs(self, damaged: Trajectory) -> None:
        figure = figures.plane_snapshots(damaged)
        assert figure.get_size_inches()[0] == 3.4
        assert [ax.get_title() for ax in figure.axes] == ["epoch 0", "epoch 376", "epoch 10000", "", "", ""]
        assert len({ax.get_xlim() for ax in figure.axes}) == 1
        for whole, top in zip(figure.axes[:3], figure.axes[3:], strict=True):
            assert top.get_ylim()[0] == pytest.approx(0.85 * damaged.i_xy)
            assert top.get_ylim()[1] > damaged.i_xy
            for all_there, magnified in zip(points_of(whole), points_of(top), strict=True):
                np.testing.assert_array_equal(all_there.get_offsets(), magnified.get_offsets())
        assert "2 diverged left out" in figure.get_suptitle()
        assert_on_the_page(figure)
        assert_on_the_page(figures.plane_snapshots(synthetic_trajectory(2, names=NAMES)))
        assert len(figures.plane_snapshots(damaged, [5]).axes) == 2
        many = figures.plane_snapshots(damaged, [0, 10, 100, 1000, 9000])
        assert len(many.axes) == 10
        assert_on_the_page(many)
        with pytest.raises(ValueError, match="epochs is empty"):
            figures.plane_snapshots(damaged, [])

    def test_layers_in_one_place_are_all_seen(self, trajectory: Trajectory) -> None:
        """Each marker drawn earlier, and so below, is larger."""
        one: Any = np.full_like(trajectory.i_xt, 12.0)
        ax = figures.plane_snapshot(replace(trajectory, i_xt=one), 0)
        circle, square, *_ = (points.get_sizes()[0] for points in points_of(ax))
        assert np.sqrt(circle / np.pi) > 1.15 * np.sqrt(square) / 2

    def test_trajectories_draw_the_means_coloured_by_epoch(self, damaged: Trajectory) -> None:
        ax: Any = figures.plane_trajectories(damaged)
        rows = [0, 2, 3, 5]
        mean = np.stack([damaged.i_xt[rows].mean(0), damaged.i_ty[rows].mean(0)], axis=-1)
        ways, points, *ends = ax.collections
        np.testing.assert_allclose(np.array(ways.get_segments()), mean, atol=1e-5)  # float32 sums
        np.testing.assert_array_equal(ways.get_array(), damaged.epochs)
        np.testing.assert_allclose(points.get_offsets(), mean.reshape(-1, 2), atol=1e-5)
        np.testing.assert_allclose(np.concatenate([end.get_offsets() for end in ends]), mean[-1], atol=1e-5)
        networks = [line for line in ax.get_lines() if line.get_marker() == "."]
        for layer, line in enumerate(networks):
            np.testing.assert_array_equal(line.get_xdata(), damaged.i_xt[rows, -1, layer])
            np.testing.assert_array_equal(line.get_ydata(), damaged.i_ty[rows, -1, layer])
        assert len(networks) == 4
        assert ax.figure.axes[1].get_ylabel() == "epoch"
        colours = points.cmap(points.norm(np.array([0, 1, 10, 100, 1000, 10_000])))
        assert np.isfinite(colours).all()
        assert np.abs(np.diff(colours[:, :3], axis=0)).max(axis=1).min() > 0.05

    def test_phase_change_line(self, trajectory: Trajectory) -> None:
        epoch = int(trajectory.epochs[trajectory.epoch_index(phase_change(trajectory).network_epoch)])
        for phase, shown in ((True, epoch), (19, 19), (False, None)):
            ax = figures.plane_trajectories(trajectory, phase=phase)
            labels = [line.get_label() for line in ax.get_lines() if "phase" in str(line.get_label())]
            assert labels == ([] if shown is None else [f"phase change, epoch {shown}"])

    def test_numbers_share_a_place_where_points_meet(self, trajectory: Trajectory) -> None:
        i_xt = np.array(trajectory.i_xt)
        i_xt[..., 1] = i_xt[..., 0]
        i_ty = np.array(trajectory.i_ty)
        i_ty[..., 1] = i_ty[..., 0]
        ax = figures.plane_trajectories(replace(trajectory, i_xt=i_xt, i_ty=i_ty))
        assert [text.get_text() for text in ax.texts] == ["1–2", "3", "4"]

    def test_numbers_stay_within_the_frame(self, trajectory: Trajectory) -> None:
        """Also beside a layer that tells every pattern apart."""
        i_xt = np.array(trajectory.i_xt)
        i_xt[..., 0] = trajectory.h_x
        ax: Any = figures.plane_trajectories(replace(trajectory, i_xt=i_xt))
        draw(ax.figure)
        frame = ax.get_window_extent()
        for text in ax.texts:
            box = text.get_window_extent()
            assert frame.x0 <= box.x0
            assert box.x1 <= frame.x1

    def test_planes_side_by_side(self, damaged: Trajectory, trajectory: Trajectory) -> None:
        figure = figures.planes({"few": damaged, "many": trajectory, "all": trajectory}, columns=2)
        titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
        assert [ax.get_xlabel() for ax in figure.axes].count("epoch") == 1  # one scale for all
        assert [title.partition("\n")[0] for title in titles] == ["few", "many", "all"]
        assert "2 diverged left out" in titles[0]
        assert figure.get_size_inches()[0] == 3.4
        assert_on_the_page(figure)
        with pytest.raises(ValueError, match="runs is empty; allowed: at least one ensemble"):
            figures.planes({})

    def test_planes_in_a_part_of_a_figure(self, trajectory: Trajectory) -> None:
        whole = Figure(figsize=(6.0, 6.0), layout="constrained")
        top, bottom = whole.subfigures(2, 1, squeeze=False)[:, 0]
        assert figures.planes({"one": trajectory}, part=top) is whole
        assert len(top.axes) == 2  # the plane and its colours
        assert not bottom.axes


class TestSideBySide:
    def test_panels_fill_rows(self) -> None:
        figure, panels = figures.side_by_side(5, width=2.0, height=1.5, columns=3)
        assert figure.axes == panels
        assert len(panels) == 5
        assert figure.get_size_inches().tolist() == [6.0, 3.0]
        assert figures.side_by_side(2, columns=3)[0].get_size_inches().tolist() == [6.8, 2.9]
        assert figures.side_by_side(2)[0].get_size_inches().tolist() == [3.4, 5.8]  # a column

    @pytest.mark.parametrize(("count", "columns"), [(0, 3), (2, 0)])
    def test_no_panels(self, count: int, columns: int) -> None:
        with pytest.raises(ValueError, match=f"count = {count}, columns = {columns}; allowed: at least 1"):
            figures.side_by_side(count, columns=columns)


class TestLetters:
    def test_every_figure_of_several_panels_has_them(self, trajectory: Trajectory) -> None:
        signs = ["(a)", "(b)", "(c)", "(d)"]
        runs = dict.fromkeys("wxyz", trajectory)
        assert letters(figures.planes(runs)) == signs
        assert letters(figures.plane_snapshots(trajectory, (0, 10, 100, 1000))) == signs
        assert letters(figures.side_by_side(4)[0]) == signs

    def test_one_panel_has_none(self, trajectory: Trajectory) -> None:
        assert letters(figures.planes({"one": trajectory})) == letters(figures.plane_snapshots(trajectory, [0])) == []

    def test_they_run_on_over_the_parts_of_a_figure(self, trajectory: Trajectory) -> None:
        whole = Figure(figsize=(3.4, 6.0), layout="constrained")
        top, bottom = whole.subfigures(2, 1, squeeze=False)[:, 0]
        figures.planes({"one": trajectory, "two": trajectory}, part=top)
        below = figures.side_by_side(2, part=bottom)[1]
        letter([*top.axes[:2], *below])
        assert letters(whole) == ["(a)", "(b)", "(c)", "(d)"]
        assert_on_the_page(whole)

    def test_they_are_bold_above_and_left_of_the_panel(self) -> None:
        figure, (panel, *_) = figures.side_by_side(27)
        draw(figure)
        (text,) = panel.texts
        box, frame = text.get_window_extent(), panel.get_window_extent()
        assert text.get_fontweight() == "bold"
        assert box.x1 <= frame.x0
        assert box.y0 >= frame.y1
        assert letters(figure)[-2:] == ["(z)", "(aa)"]


class TestBottleneck:
    def test_curve_and_ends_of_the_layers(self, damaged: Trajectory) -> None:
        curve = information_curve(np.array([[0.4, 0.1], [0.1, 0.4]]))
        ax: Any = figures.information_curve(curve, damaged)
        assert_on_the_page(ax.figure)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$I(X;T)$ [bits]", "$I(T;Y)$ [bits]")
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["information curve", *damaged.layer_names]
        line = ax.get_lines()[0]
        np.testing.assert_allclose(line.get_ydata(), curve.relevance(line.get_xdata()))
        rows = [0, 2, 3, 5]
        ends = np.stack([damaged.i_xt[rows, -1].mean(axis=0), damaged.i_ty[rows, -1].mean(axis=0)], axis=1)
        points = [part.get_offsets() for part in ax.collections if isinstance(part, PathCollection)]
        np.testing.assert_allclose(np.concatenate(points), ends, rtol=1e-6)
        assert "2 diverged left out" in ax.get_title()

    def test_curve_alone(self) -> None:
        ax = figures.information_curve(information_curve(np.array([[0.4, 0.1], [0.1, 0.4]])))
        assert ax.get_title() == "converged points of the bottleneck"
        draw(ax.figure)


class TestCurves:
    def lines(self, ax: Any) -> dict[str, Any]:
        return {str(line.get_label()): line for line in ax.get_lines()}

    def test_information_and_its_band(self, damaged: Trajectory) -> None:
        ax = figures.information_over_epochs(damaged)
        drawn = self.lines(ax)["h3"]
        np.testing.assert_array_equal(drawn.get_xdata(), damaged.epochs)
        np.testing.assert_allclose(drawn.get_ydata(), damaged.i_xt[[0, 2, 3, 5], :, 2].mean(axis=0), atol=1e-5)
        assert len(ax.collections) == 4
        assert len({line.get_marker() for line in ax.get_lines()}) == 4
        assert ax.get_ylabel() == "$I(X;T)$ [bits]"
        assert len(figures.information_over_epochs(synthetic_trajectory(1)).collections) == 0
        assert "no interval" in figures.information_over_epochs(synthetic_trajectory(1)).get_title()
        assert figures.information_over_epochs(damaged, quantity="i_ty").get_ylabel() == "$I(T;Y)$ [bits]"
        with pytest.raises(ValueError, match="quantity"):
            figures.information_over_epochs(damaged, quantity="i_x")

    @pytest.mark.parametrize("draw_on", CURVES)
    def test_phases_of_a_run_are_marked(self, draw_on: Draw) -> None:
        """Where all healthy networks come to them: at the median of the last logged epochs before."""
        began = np.array([[5, 20], [0, 0], [8, 21], [6, 33], [0, 0], [9, 22]])  # first logged epoch in phases 1 and 2
        phase = (np.arange(40) >= began[:, :, None]).sum(axis=1).astype(np.int32)
        phase[[1, 4]] = 0  # diverged
        config = {"config": {"phases": ["sgd:until=snr<1", "constrained:until=loss<1", "information"]}}
        traj = replace(synthetic_trajectory(6, (1, 4), NAMES), config=config, extras={"phase": phase})
        ax: Any = draw_on(traj)
        lines, epochs = self.lines(ax), traj.epochs
        for name, one, other in (("constrained", 5, 7), ("information", 20, 21)):
            assert list(lines[name].get_xdata()) == [(epochs[one] + epochs[other]) / 2] * 2
        assert {"constrained", "information"} <= {text.get_text() for text in ax.get_legend().get_texts()}
        assert_on_the_page(ax.figure)
        phase[3, 30:] = 1  # never in the last one
        partly = self.lines(draw_on(traj))
        assert "constrained" in partly
        assert "information" not in partly

    def test_epoch_axis_is_logarithmic_and_shows_epoch_0(self, trajectory: Trajectory) -> None:
        ax = figures.weight_norms(trajectory)
        places = ax.transData.transform([(epoch, 1.0) for epoch in (0, 1, 10, 100, 1000, 10_000)])[:, 0]
        steps = np.diff(places)
        assert steps[0] > 0
        np.testing.assert_allclose(steps[1:], steps[1], rtol=1e-6)
        assert [tick.get_text() for tick in ax.get_xticklabels()][:3] == ["0", "1", "10"]

    def test_gradients_are_normalised_and_marked(self, trajectory: Trajectory) -> None:
        ax: Any = figures.gradients(trajectory)
        ratio = trajectory.gradient_mean.astype(float) / trajectory.weight_norm
        mean = np.prod(ratio, axis=0) ** (1 / 6)
        np.testing.assert_allclose(self.lines(ax)["h1"].get_ydata(), mean[:, 0], rtol=1e-5)
        assert ax.get_yscale() == "log"
        assert "geometric mean" in ax.get_title()
        bands = [part for part in ax.collections if len(part.get_paths()[0].vertices) > 40]
        assert len(bands) == 8
        change = phase_change(trajectory)
        (mark,) = [line for line in ax.get_lines() if "phase" in str(line.get_label())]
        assert mark.get_xdata()[0] == change.network_epoch
        unmarked = figures.gradients(trajectory, phase=False)
        assert not any("phase" in str(line.get_label()) for line in unmarked.get_lines())
        assert len(unmarked.get_lines()) == 8

    def test_snr_is_the_geometric_mean(self, trajectory: Trajectory) -> None:
        ratio = trajectory.gradient_mean.astype(float) / trajectory.gradient_std
        expected = np.prod(ratio, axis=0) ** (1 / 6)
        np.testing.assert_allclose(self.lines(figures.snr(trajectory))["output"].get_ydata(), expected[:, 3], rtol=1e-9)

    def test_full_batch_gradients_draw(self, trajectory: Trajectory) -> None:
        still = replace(trajectory, gradient_std=np.zeros_like(trajectory.gradient_std))
        draw(figures.snr(still).figure)
        draw(figures.gradients(still).figure)

    def test_loss_and_accuracy(self, trajectory: Trajectory) -> None:
        left: Any = figures.loss_and_accuracy(trajectory)
        right = left.figure.axes[1]
        assert (left.get_ylabel(), right.get_ylabel()) == ("cross-entropy [nats]", "accuracy")
        for ax, name in ((left, "loss"), (right, "accuracy")):
            assert len(ax.collections) == 2
            for line, part in zip(ax.get_lines(), ("train", "test"), strict=True):
                expected = getattr(trajectory, f"{part}_{name}").mean(axis=0)
                np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-6)


class TestStyle:
    @pytest.mark.parametrize("draw_on", [*ON_AXES[:2], ON_AXES[-1], figures.snr, figures.plane_snapshots])
    def test_any_layer_name_stands_in_the_legend(self, draw_on: Draw) -> None:
        """Also one that would begin a formula, or that matplotlib would hide."""
        names = ("_h1", "$x^$", "cost $5", "a\\$b")
        plain, odd = (draw_on(synthetic_trajectory(names=n)).figure for n in (("h1", "h2", "h3", "h4"), names))
        shown = [[text.get_text() for text in self.legend(figure).get_texts()] for figure in (plain, odd)]
        assert len(shown[0]) == len(shown[1])
        assert [text for text in shown[1] if text not in shown[0]] == [r"$\_$h1", r"\$x^\$", r"cost \$5", r"a\\$b"]
        draw(odd)

    @staticmethod
    def legend(figure: Any) -> Any:
        return (figure.legends or [figure.axes[0].get_legend()])[0]

    @pytest.mark.parametrize("L", [1, 4, 8, 12])
    def test_a_colour_and_marker_for_each_layer(self, L: int) -> None:
        assert len(set(layer_colours(L))) == len(layer_markers(L)) == L
        assert len(set(layer_markers(8))) == 8
        np.testing.assert_array_less(np.diff(lightness(layer_colours(L))), 0.0)

    def test_lightness_falls_from_input_to_output(self) -> None:
        """Evenly, from a colour with a contrast to white of 2 or more (that of a lightness below 75 or so)."""
        falls = -np.diff(lightness(layer_colours(8)))
        assert falls.min() > 7
        assert lightness(layer_colours(8))[0] < 75

    def test_a_layer_looks_the_same_in_networks_of_all_depths(self) -> None:
        paper = layer_looks(NAMES)
        for depth in range(8):
            assert layer_looks((*NAMES[:depth], NAMES[-1])) == [*paper[:depth], paper[-1]]

    def test_a_layer_looks_the_same_in_every_figure(self) -> None:
        trajectory = synthetic_trajectory(3, names=NAMES)
        expected = [(to_rgb(colour), marker) for _, colour, marker in layer_looks(NAMES)]
        lines: list[Draw] = [figures.information_over_epochs, figures.gradients, figures.snr, figures.weight_norms]
        for function in lines:
            drawn = [line for line in function(trajectory).get_lines() if line.get_label() in NAMES]
            assert [(to_rgb(line.get_color()), line.get_marker()) for line in drawn] == expected
        curve = information_curve(np.array([[0.4, 0.1], [0.1, 0.4]]))
        panels = [
            *figures.plane_snapshots(trajectory).axes,
            figures.plane_snapshot(trajectory, 0),
            figures.information_curve(curve, trajectory),
            figures.plane_trajectories(trajectory),
            *figures.planes({"one": trajectory, "two": trajectory}).axes[:2],
        ]
        for panel in panels:
            points = [part for part in points_of(panel) if part.get_array() is None]
            assert [tuple(part.get_facecolor()[0][:3]) for part in points] == [colour for colour, _ in expected]

    def test_layers_and_epochs_have_different_scales(self) -> None:
        """No epoch looks like a hidden layer: CIELAB distance of 20 or more."""
        layers = lab([to_rgb(colour) for colour in layer_colours(8)][:-1])
        epochs = lab(epoch_colours(10_000.0).to_rgba(np.array([0, 1, 10, 100, 1000, 10_000]))[:, :3])
        assert np.linalg.norm(layers[:, None] - epochs, axis=-1).min() >= 20

    @pytest.mark.parametrize(
        "matrix",
        [
            np.eye(3),
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ],
        ids=["all colours", "protan", "deutan", "tritan"],
    )
    def test_eight_layers_differ_for_every_colour_vision(self, matrix: Any) -> None:
        """Machado, Oliveira & Fernandes 2009 at full severity; CIELAB distance of any two at least 10."""
        seen = lab([to_rgb(colour) for colour in layer_colours(8)], matrix)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1000 * np.eye(8)
        assert distance.min() >= 10


class TestMovie:
    def test_frames_pass_the_epochs_in_logarithmic_steps(self) -> None:
        """All epochs logged: frame k of 5 is nearest to 100^(k/4) - 1 = 0, 2.16, 9, 30.6, 99."""
        assert frame_indices(np.arange(100), 5).tolist() == [0, 2, 9, 31, 99]
        assert frame_indices(np.array([0, 1, 100]), 7).tolist() == [0, 1, 1, 1, 1, 1, 2]
        assert frame_indices(np.array([5]), 3).tolist() == [0, 0, 0]

    def test_gif(self, tmp_path: Path, damaged: Trajectory) -> None:
        seen: list[tuple[int, int]] = []
        path = figures.save_animation(
            damaged,
            tmp_path / "film é.gif",
            frames=4,
            fps=2,
            dpi=50,
            progress=lambda done, frames: seen.append((done, frames)),
        )
        film: Any
        with Image.open(path) as film:
            assert film.size == (200, 160)
            assert film.n_frames >= 4
        assert len(seen) == 6
        assert [entry.name for entry in tmp_path.iterdir()] == ["film é.gif"]

    def test_every_frame_shows_its_epoch_and_accuracy(self, damaged: Trajectory) -> None:
        film: Any = figures.animate(damaged, frames=3, fps=1)
        film._draw_was_started = True  # not saved here, which matplotlib would warn of
        ax = film._fig.axes[0]
        titles = []
        for index in (0, damaged.epoch_index(100), 39):
            film._func(index)
            titles.append(ax.get_title())
            accuracy = damaged.test_accuracy[[0, 2, 3, 5], index].mean()
            assert f"test accuracy {accuracy:.3f}" in titles[-1]
            np.testing.assert_array_equal(ax.collections[2].get_offsets()[:, 0], damaged.i_xt[[0, 2, 3, 5], index, 2])
        assert [title.partition(",")[0] for title in titles] == ["epoch 0", "epoch 92", "epoch 10000"]
        assert all("2 diverged left out" in title for title in titles)
        assert_on_the_page(film._fig)

    def test_training_accuracy_where_there_is_no_test(self, trajectory: Trajectory) -> None:
        blind = replace(trajectory, test_accuracy=np.full_like(trajectory.test_accuracy, np.nan))
        film: Any = figures.animate(blind, frames=2, fps=1)
        film._draw_was_started = True
        assert "training accuracy" in film._fig.axes[0].get_title()

    def test_without_ffmpeg_a_gif_unless_an_mp4_was_asked_for(
        self, tmp_path: Path, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
        path = figures.save_animation(trajectory, tmp_path / "film", frames=2, fps=1, dpi=40)
        assert path == tmp_path / "film.gif"
        assert path.read_bytes()[:3] == b"GIF"
        with pytest.raises(ValueError, match=r"film.mp4' needs the program ffmpeg, which is not found; allowed: .gif"):
            figures.save_animation(trajectory, tmp_path / "film.mp4", frames=2, fps=1)
        assert [entry.name for entry in tmp_path.iterdir()] == ["film.gif"]

    def test_the_frames_pass_at_the_rate_asked_for(self, tmp_path: Path, trajectory: Trajectory) -> None:
        film: Any
        with Image.open(figures.save_animation(trajectory, tmp_path / "film.gif", frames=2, fps=4, dpi=40)) as film:
            assert film.info["duration"] == 250  # milliseconds

    def test_an_ffmpeg_that_fails_names_the_file(
        self, tmp_path: Path, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (ffmpeg := tmp_path / "ffmpeg").write_text("#!/bin/sh\nexit 3\n")
        ffmpeg.chmod(0o755)
        monkeypatch.setitem(matplotlib.rcParams, "animation.ffmpeg_path", str(ffmpeg))
        with pytest.raises(OSError, match="ffmpeg failed") as caught:
            figures.save_animation(trajectory, tmp_path / "film.mp4", frames=2, fps=1, dpi=40)
        assert caught.value.filename == str(tmp_path / "film.mp4")
        assert list(tmp_path.iterdir()) == [ffmpeg]

    @pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="needs the ffmpeg program")
    def test_mp4(self, tmp_path: Path, trajectory: Trajectory) -> None:
        path = figures.save_animation(trajectory, tmp_path / "film", frames=3, fps=2, dpi=50)
        assert path == tmp_path / "film.mp4"
        assert path.read_bytes()[4:8] == b"ftyp"

    def test_a_failure_leaves_what_was_there(
        self, tmp_path: Path, trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "film.gif"
        path.write_text("old")

        def stop(done: int, frames: int) -> None:
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            figures.save_animation(trajectory, path, frames=2, fps=1, dpi=40, progress=stop)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("film.avi", {}, "film.avi"),
            ("film.gif", {"frames": 1}, "frames = 1; allowed: an integer from 2 to 100000"),
            ("film.gif", {"fps": 0}, "fps = 0; allowed: an integer from 1 to 100"),
            ("film.gif", {"fps": 10**9}, "fps = 1000000000; allowed: an integer from 1 to 100"),
        ],
    )
    def test_bad_arguments(
        self, tmp_path: Path, trajectory: Trajectory, name: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            figures.save_animation(trajectory, tmp_path / name, **options)

    def test_missing_folder(self, tmp_path: Path, trajectory: Trajectory) -> None:
        with pytest.raises(FileNotFoundError):
            figures.save_animation(trajectory, tmp_path / "missing" / "film.gif")


def test_what_a_foreign_training_loop_does_not_give() -> None:
    """The plane and the film need none of it; a figure that does names it."""
    whole = synthetic_trajectory(seeds=2)
    bare = replace(whole, **dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]
    titles = []
    for trajectory in (whole, bare):
        film = figures.animate(trajectory, frames=2)
        film._draw_was_started = True  # type: ignore[attr-defined]  # or it warns that nobody has shown it
        titles.append(film._fig.axes[0].get_title())  # type: ignore[attr-defined]
    assert titles[0].startswith("epoch 0,  test accuracy")
    assert titles[1] == "epoch 0\n" + titles[0].partition("\n")[2]
    legend = figures.plane_trajectories(bare).get_legend()
    assert not any("phase" in text.get_text() for text in legend.get_texts())  # type: ignore[union-attr]
    figures.information_over_epochs(bare)
    for figure, key in (
        (figures.gradients, "weight_norm"),
        (figures.snr, "gradient_mean"),
        (figures.weight_norms, "weight_norm"),
        (figures.loss_and_accuracy, "train_loss"),
    ):
        with pytest.raises(TrajectoryError, match=f"{key} is absent"):
            figure(bare)
