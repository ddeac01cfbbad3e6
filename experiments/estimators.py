"""Does the last hidden layer compress at every number of bins, and whatever the estimator? tanh and ReLU.

    python experiments/estimators.py [--quick] [--out DIR]

Nothing is trained anew for a measure: activations are recomputed from the weights that the runs store.

Numbers of bins: the fall of I(X;T) of the last hidden layer at 8 to 65,536 bins a unit, over all logged epochs, exact
at every number (float32 activations are binned in float64). tanh units are binned on [-1, 1], ReLU units over the
layer's range at each epoch. With ever finer bins I(X;T) tends to H(X) at every epoch, whatever the network does.

Estimators, at about 25 epochs, as a pair of a least and a greatest value of I(X;T) each:

  histogram   30 bins a unit, as above: exact
  quantile    30 cells of equal population (adaptive bins, Chelombiev et al. 2019): exact
  quantized   the layer at 8 bits over its range (Lorenzen et al. 2022): exact
  kde         lower and upper bound for Gaussian noise (Kolchinsky & Tracey 2017; Saxe et al. 2018)
  noisy       Monte Carlo for the same noise (Goldfeld et al. 2019), less and plus two standard errors

The noise has a tenth of the layer's spread, the root of the mean variance of its units, at each epoch: that a layer
grows or shrinks as a whole changes nothing. A fall is *certain* as far as the least value at the peak exceeds the
greatest at the end; the fall of an upper bound alone certifies nothing. The peak is where the least value is greatest,
among the epochs since the network began to learn (70% of its training patterns): measured in units of its spread, an
untrained layer tells most patterns apart, and what it loses first belongs to the fitting. Where the value is random,
one half of the samples chooses the epoch and the other is read there, so that the largest of many noisy numbers is not
taken for a peak.

Only networks that learned count (95% of the training patterns): about four in ten ReLU networks never do.

Shapes: S networks, E epochs, L layers, K numbers of bins or estimators, N patterns, U units.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from common import Evidence, Plan, Runs, Values
from common.layers import begun, has_learned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import ibjax
from ibjax import Config, Trajectory, figures
from ibjax.figures.style import fill_band, layer_looks, legend_below
from ibjax.information.apply import information
from ibjax.information.histogram import histogram_information
from ibjax.information.partition import channels

NAME = "estimators"
BINS = (8, 16, 30, 64, 256, 1024, 4096, 16384, 65536)
PAPER_BINS = 30
ESTIMATORS = ("histogram", "quantile", "quantized", "kde", "noisy")
BOUNDED = ("kde", "noisy")
"""Known between bounds only: what they lose for certain is the least that they may have lost."""
NOISE = 0.1  # of the layer's spread
SAMPLES = 4
MOST_EPOCHS = 25
NETWORKS, LAYER_NETWORKS = 20, 10
WIDTH = 12


class Range(NamedTuple):
    """I(X;T) of one layer of a network at E epochs, bits.

    Attributes:
      low, high: (E,) the least and the greatest value that it may have.
      guide: (E,) by which the epoch of the peak is chosen, independent of the noise in `low`.
    """

    low: Values
    high: Values
    guide: Values

    @classmethod
    def exact(cls, values: npt.ArrayLike) -> Range:
        """Of exact numbers."""
        bits = np.asarray(values, np.float64)
        return cls(bits, bits, bits)

    def fall(self, since: int = 0) -> float:
        """What the layer lost for certain since its peak, which is not before entry `since`; negative: nothing is."""
        return float(self.low[since + self.guide[since:].argmax()] - self.high[-1])


def relative(layer: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Activations (E, N, U) in units of the layer's spread at each epoch; as they are where there is none."""
    spread = np.sqrt(layer.var(axis=1, dtype=np.float64).mean(axis=1))[:, None, None]
    return (layer / np.where(spread > 0, spread, 1)).astype(layer.dtype)


def ranges(layer: npt.NDArray[Any], rule: npt.NDArray[Any], seed: int, *, bounded: bool) -> dict[str, Range]:
    """I(X;T) of activations (E, N, U) by each of the estimators; `seed` of the Monte Carlo."""
    scaled = relative(layer)
    low, high = (
        np.asarray(ibjax.kde_information(scaled, rule, noise_variance=NOISE**2, lower=lower)[0], np.float64)
        for lower in (True, False)
    )
    first, second = (
        ibjax.noisy_information(scaled, rule, key=key, noise_std=NOISE, samples=SAMPLES // 2)
        for key in jax.random.split(jax.random.key(seed))
    )
    read, error = np.asarray(second.i_xt, np.float64), np.asarray(second.i_xt_error, np.float64)
    return {
        "histogram": Range.exact(binned(layer, rule, PAPER_BINS, bounded=bounded)),
        "quantile": Range.exact(information("quantile", layer, rule).i_xt),
        "quantized": Range.exact(information("quantized", layer, rule, bits=8).i_xt),
        "kde": Range(low, high, low),
        "noisy": Range(read - 2 * error, read + 2 * error, np.asarray(first.i_xt, np.float64)),
    }


@functools.partial(jax.jit, static_argnames="bins")
def _binned(activations: Any, low: Any, high: Any, p_y_given_x: Any, *, bins: int) -> Any:
    of_patterns = channels(p_y_given_x, None, activations.dtype)

    def of_epoch(epoch: Any) -> Any:
        layer, low, high = epoch
        units = jnp.moveaxis(layer, -1, 0)[:, None]  # (U, 1, N)
        return histogram_information(units, of_patterns, bins=bins, low=low, high=high)[0][0]

    return jax.lax.map(of_epoch, (activations, low, high))


def binned(activations: npt.ArrayLike, p_y_given_x: npt.ArrayLike, bins: int, *, bounded: bool = True) -> Values:
    """I(X;T), bits, of float32 activations (E, N, U) with 2 to 65536 bins a unit, (E,).

    Args:
      activations: of one layer.
      p_y_given_x: (N,).
      bins: of each unit.
      bounded: bins on [-1, 1]; otherwise between the least and the greatest activation of each epoch.
    """
    if not 2 <= bins <= 65536:
        raise ValueError(f"bins = {bins!r}; allowed: 2 to 65536")
    layer = np.asarray(activations, np.float64)
    if layer.shape[-1] > 2:
        # A unit that is repeated changes no cell and no range: layers of one width share a compiled program.
        layer = layer[..., np.arange(max(WIDTH, layer.shape[-1])) % layer.shape[-1]]
    low, high = np.full((2, len(layer)), [[-1.0], [1.0]])
    if not bounded:
        low, high = layer.min(axis=(1, 2)), layer.max(axis=(1, 2))
        high = np.where(high > low, high, low + 1)  # any range will do for a layer that is constant
    with jax.enable_x64(True):
        return np.asarray(_binned(layer, low, high, np.asarray(p_y_given_x, np.float64), bins=bins))


def learned(run: Trajectory) -> npt.NDArray[np.intp]:
    """Rows of the networks that classify 95% of their training patterns at the end."""
    return np.flatnonzero(has_learned(run))


class Results(NamedTuple):
    """One activation; bits, NaN for networks that were not measured.

    Attributes:
      bins: (S, K) fall of the last hidden layer at each number of bins.
      layers: (S, K, L) fall of every layer, of fewer networks at fewer epochs.
      certain: (S, K) fall of the last hidden layer by each estimator that is certain, since the network began to learn.
      whole: (S, K) the same over all epochs.
      at_start: (S, K) whether I(X;T) is greatest in the untrained network.
    """

    bins: Values
    layers: Values
    certain: Values
    whole: Values
    at_start: Values


@functools.lru_cache(maxsize=4)
def analyse(run: Trajectory) -> Results:
    """Every number of bins and every estimator, of networks that learned (of all where none did, as in a toy)."""
    data = ibjax.spherical_dataset(run.config["config"]["dataset"])
    rule, bounded = data.p_y_given_x, "range_low" not in run.extras  # stored only where a layer has no fixed range
    count, everything = run.seeds.size, np.arange(run.epochs.size)
    few = common.spread_indices(run.epochs, MOST_EPOCHS)
    bins = np.full((count, len(BINS)), np.nan)
    layers = np.full((count, len(BINS), len(run.layer_names)), np.nan)
    certain, whole, at_start = (np.full((count, len(ESTIMATORS)), np.nan) for _ in range(3))
    rows = learned(run) if len(learned(run)) else np.flatnonzero(run.healthy)
    for number, row in enumerate(rows):
        activations = common.stored_activations(run, data.inputs, row, everything)
        for index, size in enumerate(BINS):
            bins[row, index] = Range.exact(binned(activations[-2], rule, size, bounded=bounded)).fall()
            if number < LAYER_NETWORKS:
                layers[row, index] = [
                    Range.exact(binned(layer[few], rule, size, bounded=bounded or layer is activations[-1])).fall()
                    for layer in activations
                ]
        if number < NETWORKS:
            found = ranges(activations[-2][few], rule, int(run.seeds[row]), bounded=bounded)
            since = int(begun(run.require("train_accuracy")[row, few]))
            certain[row] = [found[name].fall(since) for name in ESTIMATORS]
            whole[row] = [found[name].fall() for name in ESTIMATORS]
            at_start[row] = [found[name].guide.argmax() == 0 for name in ESTIMATORS]
    return Results(bins, layers, certain, whole, at_start)


def configs(plan: Plan) -> Mapping[str, Config]:
    """The paper's run, and the same with ReLU units."""
    return {"tanh": plan.paper(), "relu": plan.paper(activation="relu")}


def measure(runs: Runs) -> list[Evidence]:
    """The three claims."""
    return list(_evidence(runs))


def _evidence(runs: Runs) -> Iterator[Evidence]:
    tanh, relu = analyse(runs["tanh"]), analyse(runs["relu"])
    names = [f"{count:,}" for count in BINS]
    finer = tanh.layers[:, -1, :-1].mean(axis=1) - tanh.layers[:, BINS.index(PAPER_BINS), :-1].mean(axis=1)
    yield Evidence(
        "tanh_bins",
        tanh.bins,
        names,
        f"Falls: {common.describe(tanh.bins, names)} bits. From {PAPER_BINS} to {BINS[-1]:,} bins the mean fall of the "
        f"hidden layers changes by {common.mean(finer)} bits. ReLU: {common.describe(relu.bins, names)} bits.",
    )
    for name, found, run in (("tanh_estimators", tanh, runs["tanh"]), ("relu_estimators", relu, runs["relu"])):
        starts = [f"{label} {np.nanmean(found.at_start[:, index]):.0%}" for index, label in enumerate(ESTIMATORS)]
        yield Evidence(
            name,
            found.certain,
            ESTIMATORS,
            f"{len(learned(run))} of {run.seeds.size} networks learned. Certain falls: "
            f"{common.describe(found.certain, ESTIMATORS)} bits; from the untrained network on: "
            f"{common.describe(found.whole, ESTIMATORS)} bits, which peak before training in {', '.join(starts)}.",
            at_least=BOUNDED,
        )


def figure(runs: Runs) -> Figure:
    """Certain falls by estimator, and falls by number of bins."""
    whole, axes = figures.side_by_side(4, columns=2, height=2.6)
    with figures.style():
        for ax, (name, run) in zip(axes, runs.items(), strict=False):
            _draw_certain(ax, analyse(run).certain)
            ax.set_title(f"{'ReLU' if name == 'relu' else name}, last hidden layer, {network_count_of(run)}")
        for ax, (name, run) in zip(axes[2:], runs.items(), strict=True):
            _draw_bins(ax, analyse(run), run)
            ax.set_title("ReLU" if name == "relu" else name)
        top = max(ax.get_ylim()[1] for ax in axes[2:])
        for ax in axes[2:]:
            ax.set_ylim(-0.04 * top, top)
    return whole


def network_count_of(run: Trajectory) -> str:
    """How many networks were measured by the estimators."""
    return f"{int(np.isfinite(analyse(run).certain[:, 0]).sum())} networks"


def _draw_certain(ax: Axes, certain: Values) -> None:
    """Every network as a dot, and the mean with its interval, an estimator a line."""
    for index, values in enumerate(certain.T):
        known = values[np.isfinite(values)]
        ax.plot(known, index + np.linspace(-0.18, 0.18, known.size), ".", ms=2.5, color="0.65", zorder=1)
        mean = common.mean(known)
        ends = np.nan_to_num([[mean.estimate - mean.low], [mean.high - mean.estimate]])
        ax.errorbar(mean.estimate, index, xerr=ends, fmt="D", ms=4, color="#4477AA", elinewidth=1.4, zorder=2)
    ax.axvline(0, color="0.2", linewidth=0.6, linestyle=":")
    ax.set_yticks(range(len(ESTIMATORS)), ESTIMATORS)
    ax.set_ylim(len(ESTIMATORS) - 0.5, -0.5)
    ax.set_xlabel(r"certain fall of $I(X;T)$ [bits]")


def _draw_bins(ax: Axes, found: Results, run: Trajectory) -> None:
    """The fall against the number of bins, a line for each layer, with the interval of the last hidden one."""
    for layer, (name, colour, marker) in enumerate(layer_looks(run.layer_names)):
        ends = [common.mean(column) for column in found.layers[:, :, layer].T]
        ax.plot(BINS, [end.estimate for end in ends], color=colour, marker=marker, ms=3, label=name)
        fill_band(ax, BINS, np.array([end.low for end in ends]), np.array([end.high for end in ends]), colour)
    ax.axhline(0.0, color="0.2", linewidth=0.6, linestyle=":")
    ax.axvline(PAPER_BINS, color="0.85", linewidth=2.0, zorder=0)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator([4.0**power for power in range(1, 17)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"$2^{{{np.log2(value):.0f}}}$"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("bins of a unit")
    ax.set_xlim(0.8 * min(BINS), 1.25 * max(BINS))
    ax.set_ylabel(r"fall of $I(X;T)$ [bits]")
    legend_below(ax)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
