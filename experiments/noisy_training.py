"""Networks whose information is beyond dispute: trained with noise, or quantised; and what their compression is.

    python experiments/noisy_training.py [--quick] [--out DIR]

Noise (Goldfeld et al. 2019): the paper's network, trained for 4,000 epochs with Gaussian noise of standard deviation
0.05 or 0.2 on every hidden layer. T is the last hidden layer with its noise and that of the layers before, so I(X;T) is
finite whatever the network does. It is estimated from 64 passes of each pattern (`ibjax.noisy_network_information`),
which gives a number too low and one too high on average. A fall is certain as far as the low one at the peak, less two
standard errors, exceeds the high one at the end; other draws of the noise choose the peak.

Quantised (Lorenzen, Igel & Nielsen 2022): every hidden activation is rounded to one of 2^bits levels on [-1, 1], in
training too; the gradient passes the rounding as if it were not there. With a bin for each level the histogram counts
the network's states: I(X;T) is exact, with no choice of an estimator.

Geometry (Goldfeld et al. 2019; Geiger 2021): does I(X;T) fall because the patterns draw together? Two measures of a
layer: within-class scatter, the mean squared distance of the patterns from the mean of their class over that from the
mean of all; and distance from the corners, that of a pattern from the nearest corner of the cube of tanh units, 0 where
all units are saturated. Everything that falls in the compression correlates with everything else that does, so what
counts is the correlation of the *changes* from one logged epoch to the next, since the peak of I(X;T); of a mere trend,
such as the logarithm of the epoch, it is near 0.

Shapes: S networks, E logged epochs, L layers, N patterns, U units, R passes, B patterns of a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Evidence, Job, Plan, Runs, Values
from common.layers import begun, compressing
from estimators import Range, learned
from jax import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from saturation import draw_mean, step_axis

import ibjax
from ibjax import Config, Trajectory, figures
from ibjax.analysis import compression
from ibjax.figures.style import legend_below
from ibjax.networks.dense import dense
from ibjax.networks.perceptron import Perceptron

NAME = "noisy_training"
NOISES, EPOCHS = (0.05, 0.2), 4000
PASSES, GUIDING_PASSES, SAMPLES = 64, 8, 2
PRECISIONS = (4, 6, 8)  # bits
FEW_EPOCHS, GEOMETRY_EPOCHS = 17, 60
GEOMETRY_NETWORKS = 20
_COLOURS = ("#4477AA", "#EE6677", "0.55", "0.75")
GEOMETRY = (
    "distance from the corners",
    "within-class scatter",
    "another network's distance",
    "another network's scatter",
)
"""Of clean activations. What another network tells is the control: it knows of the time alone."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def quantise(activations: Array, bits: int) -> Array:
    """The nearest of 2^bits levels, the centres of equal cells of [-1, 1]; the gradient is that of the identity."""
    cells = 2**bits
    cell = jnp.clip(jnp.floor((activations + 1) / 2 * cells), 0, cells - 1)
    return (2 * cell + 1) / cells - 1


quantise.defvjp(lambda activations, bits: (quantise(activations, bits), None), lambda bits, saved, d: (d,))


@dataclasses.dataclass(frozen=True)
class Quantised(Perceptron):
    """The built-in tanh network with hidden activations of few bits.

    Attributes:
      bits: of an activation.
    """

    bits: int = 8

    def forward(self, params: Any, inputs: Array, noise: Any = None) -> tuple[Array, list[Array]]:
        """Logits (1, B) and activations (U, B) of each layer for inputs (..., B); without noise."""
        a = inputs.reshape(-1, inputs.shape[-1])
        activations = []
        for layer in params[:-1]:
            a = quantise(jnp.tanh(dense(layer["kernel"], layer["bias"], a)), self.bits)
            activations.append(a)
        logits = dense(params[-1]["kernel"], params[-1]["bias"], a)
        return logits, [*activations, jax.nn.sigmoid(logits)]


def scatter(layer: npt.NDArray[Any], labels: npt.NDArray[np.bool_]) -> Values:
    """(E,) within-class share of the scatter of activations (E, N, U) of patterns of two classes, (N,)."""
    a = layer.astype(np.float64)
    within = sum(a[:, of].var(axis=1).sum(axis=1) * of.mean() for of in (labels, ~labels))
    total = a.var(axis=1).sum(axis=1)
    return np.asarray(within / np.where(total > 0, total, 1))


def corner_distance(layer: npt.NDArray[Any]) -> Values:
    """(E,) mean distance of activations (E, N, U) from the nearest corner of [-1, 1]^U, over the root of U."""
    gap = 1 - np.abs(layer.astype(np.float64))
    return np.asarray(np.sqrt((gap**2).mean(axis=2)).mean(axis=1))


def since_peak(bits: Values, other: Values, *, changes: bool) -> float:
    """Correlation of two quantities (E,), or of their changes, since the peak of the first; NaN for fewer than four."""
    first = int(bits.argmax())
    a, b = bits[first:], other[first:]
    if changes:
        a, b = np.diff(a), np.diff(b)
    if a.size < 4 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def noisy_range(run: Trajectory, row: int, few: npt.NDArray[np.intp], *, passes: int = PASSES) -> Range:
    """I(X;T) of the last hidden layer of a network of noisy layers at logged epochs, less and plus two errors."""
    config = run.config["config"]
    data = ibjax.spherical_dataset(config["dataset"])
    network = Perceptron((data.inputs.shape[1], *run.layer_widths), config["activation"])
    noise = float(np.asarray(config["noise"]))
    rows = []
    for entry in few:
        params = [
            {part: jnp.asarray(run.extras[f"{kind}_{name}"][row, entry]) for part, kind in _ARRAYS.items()}
            for name in run.layer_names
        ]
        key = jax.random.fold_in(jax.random.key(int(run.seeds[row])), int(run.epochs[entry]))
        found = []
        for part, number in zip(jax.random.split(key), (min(GUIDING_PASSES, passes), passes), strict=True):
            of_passes, of_layer = jax.random.split(part)
            centers = _passes(network, params, jnp.asarray(data.inputs, jnp.float32), of_passes, noise, number)
            options = {"key": of_layer, "noise_std": noise, "samples": SAMPLES}
            found.append(ibjax.noisy_network_information(centers, data.p_y_given_x, **options))
        guide, read = found
        error = 2 * float(read.i_xt_error)
        rows.append((float(read.i_xt_low) - error, float(read.i_xt) + error, float(guide.i_xt)))
    return Range(*np.array(rows).T)


_ARRAYS = {"kernel": "weights", "bias": "biases"}


@functools.partial(jax.jit, static_argnums=(0, 5))
def _passes(network: Perceptron, params: Any, inputs: Array, key: Array, noise: float, passes: int) -> Array:
    """Activations (R, N, U) of the last hidden layer."""
    return network.propagate(params, inputs, key=key, noise_std=noise, passes=passes)[-2]


class Noisy(NamedTuple):
    """The last hidden layer of networks trained with noise.

    Attributes:
      epochs: (E,).
      low, high: (S, E) I(X;T), bits, too low and too high for certain; NaN where a network did not learn.
      fall: (S,) certain fall, bits.
      geometry: (S, 4) correlation of the changes of the mean of low and high with those of each of `GEOMETRY`.
    """

    epochs: npt.NDArray[np.int64]
    low: Values
    high: Values
    fall: Values
    geometry: Values


@functools.lru_cache(maxsize=4)
def noisy(run: Trajectory) -> Noisy:
    """Every network that learned, at a few epochs."""
    few = _few(run)
    low, high = (np.full((run.seeds.size, few.size), np.nan) for _ in range(2))
    fall, geometry = np.full(run.seeds.size, np.nan), np.full((run.seeds.size, len(GEOMETRY)), np.nan)
    data = ibjax.spherical_dataset(run.config["config"]["dataset"])
    layers: dict[int, npt.NDArray[Any]] = {}
    for row in _rows(run).tolist():
        found = noisy_range(run, row, few)
        since = int(begun(run.require("train_accuracy")[row, few]))
        low[row], high[row], fall[row] = found.low, found.high, found.fall(since)
        layers[row] = common.stored_activations(run, data.inputs, row, few)[-2]
    for row, other in following(layers):
        bits, labels = (low[row] + high[row]) / 2, data.p_y_given_x > 0.5
        geometry[row] = _correlations(bits, layers[row], layers[other], labels)
    return Noisy(run.epochs[few], low, high, fall, geometry)


def following(rows: Iterable[int]) -> list[tuple[int, int]]:
    """Each with the next one, the last with the first."""
    listed = list(rows)
    return list(zip(listed, listed[1:] + listed[:1], strict=True))


@functools.lru_cache(maxsize=2)
def geometry(run: Trajectory) -> tuple[Values, Values]:
    """Correlation of I(X;T) with each of `GEOMETRY`, (S, L, 4), of the changes and of the quantities themselves."""
    few = common.spread_indices(run.epochs, GEOMETRY_EPOCHS)
    data = ibjax.spherical_dataset(run.config["config"]["dataset"])
    changes, levels = (np.full((run.seeds.size, len(run.layer_names) - 1, len(GEOMETRY)), np.nan) for _ in range(2))
    rows = _rows(run)[:GEOMETRY_NETWORKS].tolist()
    layers = {row: common.stored_activations(run, data.inputs, row, few)[:-1] for row in rows}
    for row, other in following(rows):
        for index, (layer, another) in enumerate(zip(layers[row], layers[other], strict=True)):
            bits = run.i_xt[row, few, index].astype(np.float64)
            for table, of_changes in ((changes, True), (levels, False)):
                labels = data.p_y_given_x > 0.5
                table[row, index] = _correlations(bits, layer, another, labels, changes=of_changes)
    return changes, levels


def _correlations(
    bits: Values,
    layer: npt.NDArray[Any],
    another: npt.NDArray[Any],
    labels: npt.NDArray[np.bool_],
    *,
    changes: bool = True,
) -> list[float]:
    """Of I(X;T) (E,) with each of `GEOMETRY` of the layer (E, N, U) and of that of another network."""
    measures = [each for a in (layer, another) for each in (corner_distance(a), scatter(a, labels))]
    return [since_peak(bits, measure, changes=changes) for measure in measures]


def _few(run: Trajectory) -> npt.NDArray[np.intp]:
    """Entries of epoch 0 and of a few log-spaced epochs from 0.5% of the training on, where I(X;T) is about to peak."""
    last = int(run.epochs[-1])
    few = min(FEW_EPOCHS, max(run.epochs.size // 8, 2))  # of a toy less than a handful: each takes seconds
    wanted = [0, *np.geomspace(max(last // 200, 1), last, few)]
    return np.unique([int(np.abs(run.epochs - epoch).argmin()) for epoch in wanted])


def _rows(run: Trajectory) -> npt.NDArray[np.intp]:
    """Networks that learned; all healthy ones where none did, as in a toy."""
    return rows if (rows := learned(run)).size else np.flatnonzero(run.healthy)


def configs(plan: Plan) -> dict[str, Config | Job]:
    """With noise, quantised, and the paper's run."""
    wanted: dict[str, Config | Job] = {"tanh": plan.paper()}
    for noise in NOISES:
        epochs = {} if plan.quick else {"epochs": EPOCHS}
        wanted[f"noise {noise}"] = plan.paper(10, noise=noise, **epochs)
    for bits in PRECISIONS:
        config = plan.paper(20, bins=2**bits, store_weights=False)
        network = Quantised((12, *config.hidden_widths, 1), bits=bits)
        wanted[f"{bits} bits"] = Job(config=config, name=f"quantised-{bits}", parts={"network": network})
    return wanted


def measure(runs: Runs) -> list[Evidence]:
    """The four claims."""
    of_noise = {f"noise {noise}": noisy(runs[f"noise {noise}"]) for noise in NOISES}
    certain = np.stack([found.fall for found in of_noise.values()], axis=1)
    last = "; ".join(
        f"{name}: from {common.mean(np.fmax.reduce(found.low, axis=1))} to {common.mean(found.high[:, -1])}"
        for name, found in of_noise.items()
    )
    clusters = of_noise[f"noise {NOISES[0]}"].geometry
    quantised = {name: runs[name] for name in (f"{bits} bits" for bits in PRECISIONS)}
    last_two = {name: _falls(run) for name, run in quantised.items()}
    labels = [f"{layer} at {name}" for name in quantised for layer in ("last hidden layer", "output")]
    ends = ", ".join(f"{name} {common.mean(run.i_xt[:, -1, -2])}" for name, run in quantised.items())
    changes, levels = geometry(runs["tanh"])
    chosen = compressing(runs["tanh"])[:-1]
    corners = np.where(chosen, changes[..., 0], np.nan)
    names = runs["tanh"].layer_names[:-1]
    others = "; ".join(
        f"{what}: {common.describe(np.where(chosen, changes[..., index], np.nan), names)}"
        for index, what in enumerate(GEOMETRY)
        if index
    )
    of_levels = ", ".join(
        f"{what} {common.mean(common.known_mean(np.where(chosen, levels[..., index], np.nan), 1))}"
        for index, what in enumerate(GEOMETRY)
    )
    return [
        Evidence(
            "goldfeld_noisy",
            certain,
            list(of_noise),
            f"Certain falls: {common.describe(certain, list(of_noise))} bits; {last} bits.",
            at_least=list(of_noise),
        ),
        Evidence(
            "goldfeld_clustering",
            clusters[:, 1] - clusters[:, 3],
            detail=f"Correlations of the changes: {common.describe(clusters, GEOMETRY)}.",
        ),
        Evidence(
            "lorenzen_quantized",
            np.concatenate(list(last_two.values()), axis=1),
            labels,
            f"Falls: {common.describe(np.concatenate(list(last_two.values()), axis=1), labels)} bits; I(X;T) of the "
            f"last hidden layer at the end: {ends} bits.",
        ),
        Evidence(
            "geiger_geometric",
            corners,
            names,
            f"Correlations of the changes: {common.describe(corners, names)}; {others}. Of the quantities themselves, "
            f"mean over these layers: {of_levels}.",
        ),
    ]


def _falls(run: Trajectory) -> Values:
    """(S, 2) fall of I(X;T) of the last hidden layer and of the output, NaN for networks that did not learn."""
    falls = np.full((run.seeds.size, 2), np.nan)
    falls[_rows(run)] = compression(run).drop[_rows(run), -2:]
    return falls


def figure(runs: Runs) -> Figure:
    """Information of the noisy and of the quantised networks, and what its changes go with."""
    whole, axes = figures.side_by_side(3, height=2.7)
    with figures.style():
        for noise, colour in zip(NOISES, ("#4477AA", "#EE6677"), strict=True):
            found = noisy(runs[f"noise {noise}"])
            low, high = (common.known_mean(values, 0) for values in (found.low, found.high))
            axes[0].fill_between(found.epochs, low, high, color=colour, alpha=0.35, linewidth=0, label=f"noise {noise}")
            axes[0].plot(found.epochs, found.high.T, color=colour, linewidth=0.4, alpha=0.6)
        axes[0].set_title("trained with noise: mean of low to high,\nlines: high of each network")
        for bits, colour in zip(PRECISIONS, ("#228833", "#CCBB44", "#AA3377"), strict=True):
            run = runs[f"{bits} bits"]
            draw_mean(axes[1], run.epochs, run.i_xt[_rows(run), :, -2], f"{bits} bits", colour)
        axes[1].set_title("trained quantised")
        for ax, last in zip(axes[:2], (found.epochs[-1], run.epochs[-1]), strict=True):
            step_axis(ax, int(last), "epoch")
            ax.set_ylim(bottom=0)
            ax.set_ylabel("$I(X;T)$ of the\nlast hidden layer [bits]")
            legend_below(ax)
        _draw_geometry(axes[2], geometry(runs["tanh"])[0], runs["tanh"].layer_names[:-1])
    return whole


def _draw_geometry(ax: Axes, changes: Values, names: Sequence[str]) -> None:
    """Correlation of the changes with each measure, (S, L, 4), a group for each layer."""
    for index, what in enumerate(GEOMETRY):
        ends = [common.mean(column) for column in changes[..., index].T]
        error = np.nan_to_num([[e.estimate - e.low for e in ends], [e.high - e.estimate for e in ends]])
        at = np.arange(len(names)) + 0.18 * (index - 1.5)
        ax.errorbar(at, [e.estimate for e in ends], error, fmt="osos"[index], ms=3.5, color=_COLOURS[index], label=what)
    ax.axhline(0, color="0.2", linewidth=0.6, linestyle=":")
    ax.set_xticks(range(len(names)), [name.replace("hidden_", "") for name in names])
    ax.set_xlabel("hidden layer")
    ax.set_ylabel("correlation of the changes\nwith those of $I(X;T)$")
    legend_below(ax, columns=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
