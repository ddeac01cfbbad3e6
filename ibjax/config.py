"""The configuration of a run, its presets, and every check of what a user may put into one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from ibjax._checks import integer, unknown
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import COMPATS, ESTIMATORS, MOST_BINS

ACTIVATIONS = ("tanh", "relu", "linear", "softsign", "softplus")
OUTPUTS = ("sigmoid", "softmax")
OPTIMIZERS = ("sgd", "adam")
INITIALIZERS = ("fan_in", "fan_out")
SPLITS = ("random", "ordered")
PRECISIONS = ("float32", "float64")
BACKENDS = ("auto", "plain", "fused")
MEASURED = ("all", "train", "test")

PER_SEED = ("train_fraction", "learning_rate", "noise")
"""Fields that may hold a tuple of numbers, one a seed."""

_Item = TypeVar("_Item", int, str)

LARGEST_SEED = 2**32 - 1
WIDEST_LAYER = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to train and what to measure. Every field is checked when the object is made.

    Vary one with `dataclasses.replace(config, ...)`. `train_fraction`, `learning_rate` and `noise` are a number, or a
    tuple of one a seed, in the order of `seed_list`: a sweep is one run, compiled once.

    Attributes:
      dataset: name of a built-in task (see `ibjax.spherical_dataset`); `ibjax.run(dataset=...)` overrides it.
      seeds: an int n for the networks 0..n-1, or a tuple that names them.
      epochs: passes over the training set.
      logged_epochs: how many log-spaced epochs to measure at (duplicates merged, 0 and the last always among
        them), or a tuple that names them.
      hidden_widths: units of each hidden layer, from the input on.
      activation: of the hidden layers: tanh, relu, linear, softsign or softplus.
      output: "sigmoid" (one unit, binary labels) or "softmax" (a unit per class).
      train_fraction: share of the patterns used for training, more than 0, at most 1. Where seeds differ in it, an
        epoch is one pass of each over its own patterns: those with fewer take fewer steps.
      split: "random" (drawn anew for each seed) or "ordered" (the first patterns in counting order).
      batch_size: patterns in a minibatch, the last one of an epoch may be smaller; None is the full batch.
      shuffle: a new order each epoch, or the patterns as they stand.
      optimizer: "sgd" or "adam"; `ibjax.run(optimizer=...)` overrides it and the learning rate.
      learning_rate: its step size.
      noise: standard deviation of Gaussian noise added to every activation of the hidden layers in training, as in
        Goldfeld et al. 2019 (arXiv 1810.05728); 0 for none. What is measured is the network without it.
      initializer: kernels from a normal distribution cut at two standard deviations, whose standard deviation
        before the cut is 1/sqrt(fan-in) or 1/sqrt(fan-out); biases start at zero.
      measure_on: the patterns whose information is measured: "all", or each network's own for "train" or "test", with
        p(x) in its proportions among them.
      bins: cells of the histogram for each unit.
      compat: "idnns" takes `bins` as the number of edges from -1 to 1, as the released code does: one interval
        fewer, and one more cell for values >= 1.
      precision: "float32" or "float64", of the training and of the measures.
      backend: "plain" trains anything anywhere; "fused" trains the built-in network of tanh units, narrower than 64,
        on binary inputs in one GPU kernel an epoch (on a CPU it is interpreted, slowly); "auto" takes the fused one
        on a GPU where it can.
      store_weights: keep all parameters at every logged epoch, for `ibjax.measure` to apply other estimators later;
        `ibjax.ensemble.remeasure.weight_bytes` tells how much that is.
      estimators: names of those measured at every logged epoch. The histogram of `bins` always is, as `i_xt`, `i_ty`;
        the others, with the defaults of their options, are stored as `i_xt_<name>`, `i_ty_<name>`.

    Raises:
      ValueError: a value that is not allowed.
      TypeError: a value of the wrong type. Both messages name the field, the value, and what is allowed.
    """

    dataset: str = "spherical"
    seeds: int | tuple[int, ...] = 50
    epochs: int = 10_000
    logged_epochs: int | tuple[int, ...] = 250
    hidden_widths: tuple[int, ...] = (12, 10, 7, 5, 4, 3, 2)
    activation: str = "tanh"
    output: str = "sigmoid"
    train_fraction: float | tuple[float, ...] = 0.85
    split: str = "random"
    batch_size: int | None = 256
    shuffle: bool = True
    optimizer: str = "sgd"
    learning_rate: float | tuple[float, ...] = 0.1
    noise: float | tuple[float, ...] = 0.0
    initializer: str = "fan_in"
    measure_on: str = "all"
    bins: int = 30
    compat: str | None = None
    precision: str = "float32"
    backend: str = "auto"
    store_weights: bool = False
    estimators: tuple[str, ...] = ("histogram",)

    def __post_init__(self) -> None:
        put = lambda field, value: object.__setattr__(self, field, value)  # noqa: E731  (the class is frozen)
        for field, allowed in _CHOICES.items():
            if not (field == "compat" and self.compat is None):
                _check_choice(field, getattr(self, field), allowed)
        put("epochs", integer("epochs", self.epochs, 0, 10**9))
        put("bins", integer("bins", self.bins, 2, MOST_BINS))
        if self.batch_size is not None:
            put("batch_size", integer("batch_size", self.batch_size, 1, 10**9))
        for field in ("shuffle", "store_weights"):
            if not isinstance(getattr(self, field), bool | np.bool_):
                raise TypeError(f"{field} = {getattr(self, field)!r}; allowed: True or False")
            put(field, bool(getattr(self, field)))
        put("hidden_widths", _integers("hidden_widths", self.hidden_widths, 1, WIDEST_LAYER))
        put("estimators", _names("estimators", self.estimators, ESTIMATORS))
        if _several(self.seeds):
            put("seeds", _distinct("seeds", _integers("seeds", self.seeds, 0, LARGEST_SEED)))
        else:
            put("seeds", integer("seeds", self.seeds, 1, 10**7))
        put("train_fraction", self._of_seeds("train_fraction", 1.0))
        put("learning_rate", self._of_seeds("learning_rate", math.inf))
        put("noise", self._of_seeds("noise", math.inf, zero=True))
        if _several(self.logged_epochs):
            epochs = _distinct("logged_epochs", _integers("logged_epochs", self.logged_epochs, 0, self.epochs))
            if list(epochs) != sorted(epochs):
                raise ValueError(f"logged_epochs = {epochs}; allowed: epochs in increasing order")
            put("logged_epochs", epochs)
        else:
            put("logged_epochs", integer("logged_epochs", self.logged_epochs, 1, 10**6))

    def _of_seeds(self, field: str, high: float, *, zero: bool = False) -> float | tuple[float, ...]:
        """A number, or one a seed, checked."""
        value = getattr(self, field)
        if isinstance(value, str | bytes) or not _several(value):
            return _real(field, value, high, zero=zero)
        numbers = tuple(_real(f"{field}[{i}]", item, high, zero=zero) for i, item in enumerate(value))
        if len(numbers) != len(self.seed_list):
            raise ValueError(
                f"{field} holds {len(numbers)} numbers for {len(self.seed_list)} seeds; allowed: one, or one a seed"
            )
        return numbers

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds by name, (S,)."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def logged(self) -> tuple[int, ...]:
        """The logged epochs by name, (E,), increasing."""
        if isinstance(self.logged_epochs, tuple):
            return self.logged_epochs
        if self.epochs == 0:
            return (0,)
        count = max(self.logged_epochs - 1, 1)
        spaced = np.geomspace(1, self.epochs, count)[: None if count > 1 else 0]
        return tuple(sorted({0, *map(int, np.rint(spaced)), self.epochs}))


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "dataset": DATASETS,
    "activation": ACTIVATIONS,
    "output": OUTPUTS,
    "split": SPLITS,
    "optimizer": OPTIMIZERS,
    "initializer": INITIALIZERS,
    "measure_on": MEASURED,
    "compat": COMPATS,
    "precision": PRECISIONS,
    "backend": BACKENDS,
}


def choices(field: str) -> tuple[str, ...] | None:
    """The names allowed for a field of `Config`, or None where it is not a choice among names."""
    return _CHOICES.get(field)


def _check_choice(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field} = {value!r}; allowed: {', '.join(map(repr, allowed))}")
    if value not in allowed:
        raise ValueError(unknown(field, value, allowed))


def _several(value: Any) -> bool:
    return isinstance(value, Iterable) and getattr(value, "ndim", 1) > 0


def _integers(field: str, value: Any, low: int, high: int) -> tuple[int, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a tuple of integers from {low} to {high}")
    numbers = tuple(integer(f"{field}[{i}]", item, low, high) for i, item in enumerate(value))
    if not numbers:
        raise ValueError(f"{field} is empty; allowed: at least one integer from {low} to {high}")
    return numbers


def _names(field: str, value: Any, allowed: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{field} = {value!r}; allowed: a tuple of {', '.join(map(repr, allowed))}")
    names = tuple(value)
    for index, name in enumerate(names):
        _check_choice(f"{field}[{index}]", name, allowed)
    return _distinct(field, names)


def _distinct(field: str, items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    if len(set(items)) < len(items):
        twice = next(item for i, item in enumerate(items) if item in items[:i])
        raise ValueError(f"{field} holds {twice!r} more than once; allowed: each at most once")
    return items


def _real(field: str, value: Any, high: float, *, zero: bool = False) -> float:
    """A number in (0, high], or [0, high] where zero is allowed; finite."""
    limit = f"a finite number {'of at least' if zero else 'more than'} 0" + (
        "" if math.isinf(high) else f" and at most {high:g}"
    )
    if isinstance(value, bool | np.bool_ | str | bytes | complex):
        raise TypeError(f"{field} = {value!r}; allowed: {limit}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{field} = {value!r}; allowed: {limit}") from None
    except OverflowError:
        raise ValueError(f"{field} = {value!r}; allowed: {limit}") from None
    if not ((number > 0 or (zero and number == 0)) and number <= high and math.isfinite(number)):
        raise ValueError(f"{field} = {number:g}; allowed: {limit}")
    return number


def _idnns_epochs() -> tuple[int, ...]:
    """The released code's epochs: 400 log-spaced in base 2, duplicates merged, less one."""
    return tuple(map(int, np.unique(np.logspace(np.log2(1), np.log2(8000), 400, base=2).astype(int)) - 1))


def _saxe_epochs() -> tuple[int, ...]:
    """All epochs below 20, every 5th below 100, every 20th below 2000, then every 100th."""
    return (*range(20), *range(20, 100, 5), *range(100, 2000, 20), *range(2000, 10_001, 100))


PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        "paper": Config(),
        "idnns": Config(
            dataset="var_u",
            epochs=8000,
            logged_epochs=_idnns_epochs(),
            hidden_widths=(10, 7, 5, 4, 3),
            output="softmax",
            train_fraction=0.8,
            split="ordered",
            batch_size=512,
            shuffle=False,
            optimizer="adam",
            learning_rate=4e-4,
            compat="idnns",
        ),
        "saxe": Config(
            dataset="var_u",
            logged_epochs=_saxe_epochs(),
            hidden_widths=(10, 7, 5, 4, 3),
            output="softmax",
            train_fraction=0.8,
            optimizer="adam",
            learning_rate=4e-4,
            initializer="fan_out",
        ),
        "quick": Config(seeds=10, epochs=2000, logged_epochs=60, hidden_widths=(10, 7, 5, 4, 3)),
    }
)
"""Configurations to start from.

paper: Shwartz-Ziv & Tishby 2017. Its learning rate and batch size are not published. With batches of 256, means of 10
  seeds, last hidden layer:

    rate    I(X;T) peaks at    I(T;Y) at 98% of its end    I(X;T) from the peak to the end
    0.05    epoch 189          epoch 574                   5.1 to 1.3 bits
    0.1     epoch 117          epoch 356                   5.2 to 1.2 bits
    0.2     epoch 73           epoch 259                   5.1 to 1.1 bits

  0.1 it is: the paper's planes show the full relevant information at about 400 epochs. At all three rates the drift of
  the gradients ends within tens of epochs, earlier than the 350 of the paper.
idnns: the authors' released code, its cells and its unshuffled split among the rest. It trains with Adam where the
  paper says SGD, and logs before the update of an epoch, hence one less than the epochs it names.
saxe: the code of Saxe et al. 2018 (tanh; `activation="relu", bins=100` for its other network).
quick: the smaller network of those codes on the paper's task, seconds on a laptop.
"""
