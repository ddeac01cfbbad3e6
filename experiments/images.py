"""Photographs in the information plane: a wide and a convolutional network on Fashion-MNIST, by several estimators.

Both have layers of hundreds of units, where each image has a cell of a fine histogram to itself. Measured on the
training images and on as many test images, and with labels at random as a control: the same networks and images, from
the same initial weights, with nothing to learn but by heart. Its images are not part of ibjax: see
`ibjax.fashion_mnist_dataset`; the toy of `--quick` takes scikit-learn's digits.

Shapes: S networks, E logged epochs, L layers, B images of a batch.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence

import common
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Evidence, Job, Plan, Runs, Values
from common.layers import ROOM
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import ibjax
from ibjax import figures
from ibjax.analysis import check_bounds
from ibjax.figures.style import DASHED, I_TY, I_XT, layer_colours, letter

NAME = "images"
IMAGES = 1024  # for training, and as many for test: H(X) is 10 bits on either
LARGE = 500  # units
NETWORKS = ("wide", "convolutional")
PARTS = ("train", "test", "random")
FURTHER: Mapping[str, Mapping[str, float]] = {
    "adaptive_layer": {"bins": 2},
    "kde": {"noise_variance": 1.0},
    "renyi": {"order": 2},
    "sliced": {"projections": 8, "samples": 2},
    "soft": {},
}
TITLES = {
    "histogram": "30 bins",
    "adaptive_layer": "2 bins",
    "kde": "kde",
    "renyi": "Renyi",
    "sliced": "sliced",
    "soft": "soft",
}
"""Estimators in the order of the panels; the histogram is the run's own."""


class Convolutional(nn.Module):  # type: ignore[misc]  # flax is not typed here
    """Two convolutions, 5 x 5 in steps of 2, a layer of 32 units, ten classes; it returns logits only.

    A convolution is a dense layer on every patch. Written so, the kernels of all networks are one product of matrices,
    which is fast on every device.
    """

    channels: tuple[int, int] = (8, 16)

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, channels in enumerate(self.channels, 1):
            x = nn.relu(nn.Dense(channels)(patches(x, 5, 2)))
            self.sow("intermediates", f"conv_{number}", x)
        x = nn.relu(nn.Dense(32)(x.reshape(len(x), -1)))
        self.sow("intermediates", "dense", x)
        return nn.Dense(10)(x)


def patches(x: jax.Array, size: int, step: int) -> jax.Array:
    """The patches of images (B, height, width, channels), a zero border around them, with their values last."""
    edge = size // 2
    height, width = -(-x.shape[1] // step), -(-x.shape[2] // step)
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    shifted = [
        padded[:, row : row + step * (height - 1) + 1 : step, column : column + step * (width - 1) + 1 : step]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)


def task(quick: bool) -> ibjax.Dataset:
    """The images, those for training first."""
    if not quick:
        return ibjax.fashion_mnist_dataset(train=IMAGES, test=IMAGES)
    digits = ibjax.digits_dataset()
    return ibjax.Dataset(digits.inputs[:256].reshape(-1, 8, 8, 1), digits.p_y_given_x[:256])


def configs(plan: Plan) -> dict[str, Job]:
    """Both networks, measured on training and on test images, and on training images with labels at random."""
    images = task(plan.quick)
    base = ibjax.Config(
        seeds=plan.seeds(10),
        epochs=4 if plan.quick else 60,
        logged_epochs=(0, 1, 4) if plan.quick else (0, 1, 3, 10, 25, 60),
        hidden_widths=(512, 16) if plan.quick else (1024, 64, 32),
        activation="relu",
        output="softmax",
        split="ordered",
        train_fraction=0.5,
        batch_size=64,
        optimizer="adam",
        learning_rate=1e-3,
        estimators={name: FURTHER[name] for name in ("adaptive_layer", "soft")} if plan.quick else FURTHER,
    )
    layers = ("conv_1", "conv_2", "dense")
    module = Convolutional((32, 16)) if plan.quick else Convolutional()
    wanted = {}
    for network in NETWORKS:
        for part in PARTS:
            data = images.with_random_labels(0) if part == "random" else images
            parts: dict[str, object] = {"dataset": data}
            if network == "convolutional":
                parts["network"] = ibjax.capture(module, layers)
            config = dataclasses.replace(base, measure_on="test" if part == "test" else "train")
            wanted[f"{network}, {part}"] = Job(config=config, name=f"{NAME}_{network}_{part}", parts=parts)
    return wanted


def measured(runs: Runs) -> dict[str, str]:
    """The estimators that the runs hold, with their titles; a toy has fewer, since each takes its time to compile."""
    extras = next(iter(runs.values())).extras
    return {name: title for name, title in TITLES.items() if name == "histogram" or f"i_xt_{name}" in extras}


def bits(run: ibjax.Trajectory, estimator: str, what: str) -> Values:
    """I(X;T) or I(T;Y), "i_xt" or "i_ty", of an estimator, (S, E, L) with NaN for diverged networks."""
    found = getattr(run.of_estimator(estimator), what)
    return np.where(run.diverged[:, None, None], np.nan, found.astype(np.float64))


def large(run: ibjax.Trajectory) -> npt.NDArray[np.bool_]:
    """(L,) which layers have `LARGE` units or more."""
    return np.array(run.layer_widths) >= LARGE


def of_large(runs: Runs, part: str, estimator: str, what: str) -> dict[str, Values]:
    """(S, E) for each network: the mean over its large layers."""
    chosen = {network: runs[f"{network}, {part}"] for network in NETWORKS}
    return {network: bits(run, estimator, what)[:, :, large(run)].mean(axis=2) for network, run in chosen.items()}


def measure(runs: Runs) -> list[Evidence]:
    """Where large layers sit, which estimators move, and what random labels change."""
    return [full(runs), *moves(runs), gap(runs), random_labels(runs)]


def full(runs: Runs) -> Evidence:
    """The least of the histogram's I(X;T) over epochs, of H(X), of every large layer."""
    columns: dict[str, Values] = {}
    for label, run in runs.items():
        h_x = run.extras["h_x_measured"][:, None, None]
        least = (bits(run, "histogram", "i_xt") / h_x).min(axis=1)
        columns |= {f"{name} ({label})": least[:, at] for at, name in enumerate(run.layer_names) if large(run)[at]}
    return Evidence("images_fine_full", np.stack(list(columns.values()), axis=1), list(columns), undersampled(runs))


def undersampled(runs: Runs) -> str:
    """In which share of their large layers each estimator is within `ROOM` of H(X) at the end; values beyond bounds."""
    near, broken = [], []
    for estimator in measured(runs):
        shares, count = [], 0
        for run in runs.values():
            room = run.extras["h_x_measured"][:, None] - bits(run, estimator, "i_xt")[:, -1]
            shares.append(np.mean(room[:, large(run)] < ROOM))
            report = check_bounds(run, estimator=None if estimator == "histogram" else estimator)
            count += sum(each.count for each in report.bounds)
        near.append(f"{estimator} {np.mean(shares):.0%}")
        broken.append(f"{estimator} {count}")
    return (
        f"Within {ROOM:g} bits of H(X) at the end, of the large layers of all runs: {', '.join(near)}. Values beyond a "
        f"bound: {', '.join(broken)}. {accuracies(runs)}"
    )


def accuracies(runs: Runs) -> str:
    """Training and test accuracy at the end, in words."""
    told = []
    for label, run in runs.items():
        if not label.endswith("test"):
            ends = (common.mean(run.require(f"{part}_accuracy")[run.healthy, -1]) for part in ("train", "test"))
            told.append(f"{label} {' and '.join(f'{end.estimate:.3f}' for end in ends)}")
    return f"Accuracy in training and test: {'; '.join(told)}."


def columns_of(values: Mapping[str, Mapping[str, Values]]) -> tuple[Values, list[str]]:
    """(S, K) and the names of the K pairs of estimator and network."""
    named = {f"{est} ({net})": column for est, both in values.items() for net, column in both.items()}
    return np.stack(list(named.values()), axis=1), list(named)


def moves(runs: Runs) -> list[Evidence]:
    """Greatest less least I(X;T), and I(T;Y), over the epochs, of the large layers on the test images."""
    found = []
    for claim, what in (("images_move_x", "i_xt"), ("images_move_y", "i_ty")):
        spans = {
            est: {n: np.ptp(v, axis=1) for n, v in of_large(runs, "test", est, what).items()} for est in measured(runs)
        }
        changes = {
            est: {n: v[:, -1] - v[:, 0] for n, v in of_large(runs, "test", est, what).items()} for est in measured(runs)
        }
        found.append(Evidence(claim, *columns_of(spans), f"End less start: {common.describe(*columns_of(changes))}."))
    return found


def gap(runs: Runs) -> Evidence:
    """I(T;Y) of the output at the end, on the training images less on the test images."""
    gaps = {}
    for est in measured(runs):
        ends = {part: {n: bits(runs[f"{n}, {part}"], est, "i_ty")[:, -1, -1] for n in NETWORKS} for part in PARTS[:2]}
        gaps[est] = {network: ends["train"][network] - ends["test"][network] for network in NETWORKS}
    return Evidence("images_gap", *columns_of(gaps))


def random_labels(runs: Runs) -> Evidence:
    """Gain of I(T;Y) in training of the large layers, with the true labels less with labels at random."""
    gains, alone = {}, {}
    for est in measured(runs):
        kinds = {part: of_large(runs, part, est, "i_ty") for part in ("train", "random")}
        gain = {part: {n: v[:, -1] - v[:, 0] for n, v in both.items()} for part, both in kinds.items()}
        gains[est] = {network: gain["train"][network] - gain["random"][network] for network in NETWORKS}
        alone[est] = gain["random"]
    told = f"Gains with labels at random: {common.describe(*columns_of(alone))}."
    return Evidence("images_random", *columns_of(gains), told)


def figure(runs: Runs) -> Figure:
    """A plane for each network and estimator: mean paths of the layers."""
    with figures.style():
        whole = Figure(figsize=(7.0, 3.6), layout="constrained")
        panels = whole.subplots(len(NETWORKS), len(measured(runs)), squeeze=False)
        for row, network in zip(panels, NETWORKS, strict=True):
            for ax, (estimator, title) in zip(row, measured(runs).items(), strict=True):
                draw(ax, runs, network, estimator)
                if network == NETWORKS[0]:
                    ax.set_title(title)
                else:
                    ax.set_xlabel(I_XT)
            row[0].set_ylabel(f"{network}\n{I_TY}")
        letter(panels.ravel())
        looks = (("training images", "-"), ("test images", DASHED), ("training, labels at random", ":"))
        lines = [Line2D([], [], color="0.3", ls=look, label=text) for text, look in looks]
        names = ("first layer", "second", "third", "output")
        shown = runs[f"{NETWORKS[-1]}, train"]
        colours = layer_colours(len(shown.layer_names))
        lines += [Line2D([], [], color=c, marker=".", label=n) for c, n in zip(colours, names, strict=False)]
        whole.legend(handles=lines, loc="outside lower center", ncols=len(lines))
    return whole


def draw(ax: Axes, runs: Runs, network: str, estimator: str) -> None:
    """The mean path of every layer, its end marked, and H(X)."""
    for part, look in zip(PARTS, ("-", DASHED, ":"), strict=True):
        run = runs[f"{network}, {part}"]
        x, y = (np.nanmean(bits(run, estimator, what), axis=0) for what in ("i_xt", "i_ty"))
        for layer, colour in enumerate(layer_colours(len(run.layer_names))):
            ax.plot(x[:, layer], y[:, layer], ls=look, lw=0.9, color=colour)
            ax.plot(x[-1, layer], y[-1, layer], ".", ms=4, color=colour)
    ax.axvline(float(run.extras["h_x_measured"].mean()), color="0.7", lw=0.6, zorder=0)
    ax.tick_params(labelsize=6)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw, write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
