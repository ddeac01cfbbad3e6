"""Is the compression exponential in time? I(X;T) after its peak against three laws.

If the weights diffuse, compressing by dI bits takes about exp(dI/D) epochs: I(X;T) = a - D ln t. The rivals are a power
law a + b t^c, c of either sign, of which the logarithm is the limit c -> 0, and an exponential approach
a + b exp(-t/tau). Each is fitted to each network and layer at the logged epochs from the peak of I(X;T) to the end.

Successive epochs err together, so the errors are an autoregression e_i = rho e_(i-1) + noise, whose rho is fitted with
the law by exact maximum likelihood. Laws are compared by AIC = 2 k - 2 ln L: k = 4 (logarithm), 5 (the others). A law
within 2 of the best is as good as it (Burnham & Anderson 2002). The logarithm has a parameter less, so where the data
say little it is never beaten by much: whether they could say more is seen from curves drawn from the best rival, with
its errors, on which the logarithm should fail.

Shapes: S networks, E logged epochs, L layers.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import common
import numpy as np
import numpy.typing as npt
from common import Evidence, Plan, Runs, Values
from common.drawing import layer_axis
from common.layers import COMPRESSES, compressing
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import optimize

from ibjax import Config, Trajectory, figures
from ibjax.analysis import compression
from ibjax.figures.style import I_XT, label, layer_looks, legend_below, network_count

NAME = "compression_time"
WIDTHS = (12, 10, 7, 5, 4, 3)
AS_GOOD = 2.0  # of AIC
LOOKS = {"logarithm": ("#222222", "-"), "power law": ("#0072B2", "--"), "exponential": ("#D55E00", ":")}
_LEAST = 12  # epochs
_CORRELATIONS = np.tanh(np.linspace(-1.0, 5.0, 241))  # of successive errors, up to .9999


class Law(NamedTuple):
    """A law fitted to one curve.

    Attributes:
      aic: Akaike's criterion, up to a constant of the curve.
      explained: share of the variance, R^2.
      parameter: exponent c, or time constant tau in epochs; 0 of the logarithm.
      correlation: rho of successive errors.
      noise: standard deviation of the part of an error that is new, bits.
      curve: (E,) bits.
    """

    aic: float
    explained: float
    parameter: float
    correlation: float
    noise: float
    curve: Values


def fit_laws(epochs: npt.ArrayLike, values: npt.ArrayLike) -> dict[str, Law] | None:
    """The three laws fitted to I(X;T) (E,) at epochs (E,) > 0; None for fewer than 12 epochs or no variation."""
    t, y = np.asarray(epochs, np.float64), np.asarray(values, np.float64)
    if t.size < _LEAST or np.ptp(y) == 0:
        return None
    log = np.log(t / t[0])

    def power(c: float) -> Values:
        return np.asarray(log if abs(c) < 1e-9 else np.expm1(c * log) / c)

    def approach(log_tau: float) -> Values:
        return np.exp(-(t - t[0]) / np.exp(log_tau))

    span = np.log(t[-1] - t[0])
    return {
        "logarithm": _fit(log, y, 4, 0.0),
        "power law": _search(power, np.linspace(-4.0, 2.0, 61), y),
        "exponential": _search(approach, np.linspace(span - 6.0, span + 2.0, 61), y, np.exp),
    }


def _search(
    shape: Callable[[float], Values], grid: Values, y: Values, meaning: Callable[[float], float] = float
) -> Law:
    """The best of a family of shapes: the best of a grid, polished between its neighbours."""
    costs = [_likelihood(shape(p), y)[0] for p in grid]
    best = int(np.argmin(costs))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    polished = optimize.minimize_scalar(lambda p: _likelihood(shape(p), y)[0], bounds=ends, method="bounded")
    parameter = float(polished.x) if polished.fun < costs[best] else float(grid[best])
    return _fit(shape(parameter), y, 5, float(meaning(parameter)))


def _fit(x: Values, y: Values, count: int, parameter: float) -> Law:
    cost, correlation, noise, curve = _likelihood(x, y)
    # What a curve without the errors' memory explains; theirs drift, so that the mean of the residuals is not 0.
    left = ((y - curve - (y - curve).mean()) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return Law(cost + 2 * count, float(1 - left), parameter, correlation, noise, curve)


def _likelihood(x: Values, y: Values) -> tuple[float, float, float, Values]:
    """-2 ln L of y = a + b x + autoregressive errors at its maximum, and there rho, the noise and a + b x.

    The sums of products of whitened series are quadratic in rho, so that all of a grid of rho costs as one.
    """
    n, rho = y.size, _CORRELATIONS
    size = x.std() or 1.0
    columns = np.stack([np.ones(n), (x - x.mean()) / size, y])
    whole, inner = columns @ columns.T, columns[:, 1:-1] @ columns[:, 1:-1].T
    shifted = columns[:, 1:] @ columns[:, :-1].T
    sums = whole - rho[:, None, None] * (shifted + shifted.T) + rho[:, None, None] ** 2 * inner
    gram, cross = sums[:, :2, :2], sums[:, :2, 2]
    slopes = np.linalg.solve(gram, cross[..., None])[..., 0]
    rss = np.maximum(
        sums[:, 2, 2] - (slopes * cross).sum(axis=1), 1e-12 * whole[2, 2]
    )  # rounding: no infinite evidence
    cost = n * np.log(rss / n) - np.log1p(-(rho**2))
    best = int(np.argmin(cost))
    return float(cost[best]), float(rho[best]), float(np.sqrt(rss[best] / n)), slopes[best] @ columns[:2]


class Results(NamedTuple):
    """Of every network and layer; NaN where nothing is fitted.

    Attributes:
      names: of the layers that compress, their places among all in `layers`.
      layers: (K,) of them.
      aic: (S, K, 3) of each law less that of the best.
      explained: (S, K, 3) R^2.
      parameter: (S, K, 3) exponent and time constant.
      correlation: (S, K) of successive errors about the best law.
      planted: (S, K) whether the logarithm would pass on a curve drawn from the best rival, with its errors.
    """

    names: list[str]
    layers: npt.NDArray[np.intp]
    aic: Values
    explained: Values
    parameter: Values
    correlation: Values
    planted: Values


@functools.lru_cache(maxsize=16)
def analyse(trajectory: Trajectory) -> Results:
    """The laws for every network and every layer that compresses."""
    seen, rng = compression(trajectory), np.random.default_rng(0)
    layers = np.flatnonzero(compressing(trajectory))
    table = np.full((trajectory.seeds.size, layers.size, 11), np.nan)
    for row in np.flatnonzero(trajectory.healthy):
        for place, layer in enumerate(layers):
            after, values = since_peak(trajectory, row, layer)
            if seen.drop[row, layer] < COMPRESSES or (laws := fit_laws(trajectory.epochs[after], values)) is None:
                continue
            found = list(laws.values())
            least = min(law.aic for law in found)
            rival = min(found[1:], key=lambda law: law.aic)
            drawn = fit_laws(trajectory.epochs[after], rival.curve + errors(rival, rng))
            passes = np.nan if drawn is None else passed([law.aic for law in drawn.values()])
            nearest = min(found, key=lambda law: law.aic)
            table[row, place] = [
                *(law.aic - least for law in found),
                *(law.explained for law in found),
                *(law.parameter for law in found),
                nearest.correlation,
                passes,
            ]
    names = [trajectory.layer_names[layer] for layer in layers]
    aic, explained, parameter = np.split(table[..., :9], 3, axis=2)
    return Results(names, layers, aic, explained, parameter, table[..., 9], table[..., 10])


def since_peak(
    trajectory: Trajectory, row: int | np.intp, layer: int | np.intp
) -> tuple[npt.NDArray[np.bool_], Values]:
    """Which logged epochs lie at the peak of I(X;T) of one network's layer or after it, and the values there, bits."""
    after = trajectory.epochs >= max(compression(trajectory).peak_epoch[row, layer], 1)
    return after, trajectory.i_xt[row, after, layer].astype(np.float64)


def errors(law: Law, rng: np.random.Generator) -> Values:
    """(E,) autoregressive errors like those about a law."""
    drawn = law.noise * rng.normal(size=law.curve.size)
    drawn[0] /= np.sqrt(1 - law.correlation**2)
    for i in range(1, drawn.size):
        drawn[i] += law.correlation * drawn[i - 1]
    return drawn


def passed(aic: npt.ArrayLike) -> Values:
    """Whether the first of the laws on the last axis is as good as the best; NaN stays."""
    aic = np.asarray(aic)
    passes = aic[..., 0] <= aic.min(axis=-1) + AS_GOOD
    return np.where(np.isnan(aic[..., 0]), np.nan, passes)


def configs(plan: Plan) -> dict[str, Config]:
    """The paper's run, and those of `depth` with two hidden layers and more."""
    widths = WIDTHS[: 2 if plan.quick else None]
    others = {str(depth): plan.paper(seeds=20, hidden_widths=widths[:depth]) for depth in range(2, len(widths) + 1)}
    return {"paper": plan.paper()} | others


def measure(runs: Runs) -> list[Evidence]:
    """Whether the logarithm is as good as the best law, layer by layer of the paper's run."""
    found = analyse(runs["paper"])
    if not found.names:
        return [Evidence.unmeasurable("exponential_time", f"No layer loses {COMPRESSES} bits.")]
    others = "; ".join(
        f"{name}: {common.mean(passed(analyse(run).aic).ravel())}" for name, run in runs.items() if name != "paper"
    )
    laws = ", ".join(f"{law} {np.nanmean(found.explained[..., k]):.2f}" for k, law in enumerate(LOOKS))
    aic, planted, power, tau = (
        common.describe(values, found.names)
        for values in (found.aic[..., 0], found.planted, found.parameter[..., 1], np.log10(found.parameter[..., 2]))
    )
    detail = (
        f"AIC of the logarithm above that of the best: {aic}. On curves drawn from the best rival it passes as well in "
        f"{planted}. Share of the variance explained: {laws}. Exponent of the power law: {power}; log10 of the "
        f"exponential's time constant in epochs: {tau}. Correlation of successive errors: "
        f"{common.mean(found.correlation.ravel())}. The share in all layers that compress, by number of hidden layers: "
        f"{others}."
    )
    return [Evidence.share("exponential_time", passed(found.aic), found.names, detail)]


def figure(runs: Runs) -> Figure:
    """One network with the three laws; how much worse than the best each law is, layer by layer."""
    run = runs["paper"]
    found, looks = analyse(run), layer_looks(run.layer_names)
    whole, (left, right) = figures.side_by_side(2, height=3.2)
    with figures.style():
        row = int(np.flatnonzero(run.healthy)[0])
        for layer, (name, colour, marker) in enumerate(looks):
            if layer in found.layers:
                draw_fits(left, run, row, layer, name, colour, marker)
        for law, (colour, line) in LOOKS.items():
            left.plot([], [], color=colour, linestyle=line, label=law)
        left.set_xscale("log")
        left.set_xlabel("epoch")
        left.set_ylabel(I_XT)
        left.set_ylim(0.0, None)
        left.set_title(f"seed {run.seeds[row]} of {network_count(run)}")
        legend_below(left)
        draw_shortfall(right, found)
    return whole


def draw_fits(ax: Axes, run: Trajectory, row: int, layer: int, name: str, colour: str, marker: str) -> None:
    """I(X;T) of one layer of one network, and the laws from its peak on, not above H(X)."""
    shown = run.epochs > 0
    ax.plot(
        run.epochs[shown],
        run.i_xt[row, shown, layer],
        ls="",
        marker=marker,
        ms=1.8,
        color=colour,
        mew=0,
        label=label(name),
    )
    after, values = since_peak(run, row, layer)
    for law, fit in (fit_laws(run.epochs[after], values) or {}).items():
        ax.plot(run.epochs[after], np.minimum(fit.curve, run.h_x), color=LOOKS[law][0], ls=LOOKS[law][1], lw=0.9)


def draw_shortfall(ax: Axes, found: Results) -> None:
    """AIC above that of the best law: every network, medians with quartiles; the dashed line is as good as the best."""
    for k, (law, (colour, _)) in enumerate(LOOKS.items()):
        at = np.arange(len(found.names)) + 0.24 * (k - 1)
        for place, column in enumerate(found.aic[..., k].T):
            known = column[~np.isnan(column)]
            if known.size:
                ax.plot(np.full(known.size, at[place]), known, ".", ms=2.5, color=colour, alpha=0.35, mew=0)
                low, middle, high = np.percentile(known, [25, 50, 75])
                ax.errorbar(at[place], middle, [[middle - low], [high - middle]], fmt="D", ms=3.5, color=colour)
        ax.plot([], [], "D", ms=3.5, color=colour, label=law)
    ax.axhline(AS_GOOD, color="0.5", lw=0.8, ls="--")
    ax.set_yscale("symlog", linthresh=2.0)
    ax.set_ylim(-0.4, None)
    ax.set_ylabel("AIC above that of the best law")
    layer_axis(ax, found.names)
    ax.set_title("networks; medians, quartiles")
    legend_below(ax)


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read, measure, draw and write."""
    return common.execute(NAME, __doc__, configs, measure, figure, argv)


if __name__ == "__main__":
    sys.exit(main())
