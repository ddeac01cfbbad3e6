"""The configuration of a run and every check of what a user may put into one.

What a field is, what it may hold and how the command line calls it stands once, in the field's metadata: the checks,
the options of `ibjax run` and the table of the documentation come from there.

Shapes: S seeds, E logged epochs.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ibjax import _checks, _fields
from ibjax._fields import option
from ibjax.data.spherical import DATASETS
from ibjax.information.estimator import COMPATS, ESTIMATORS, MOST_BINS, Estimator, of_specification, specifications
from ibjax.schedule.checks import check_all_used
from ibjax.schedule.phases import Phase, of_words, phases
from ibjax.schedule.settings import RULES

PER_SEED = ("train_fraction", "learning_rate", "weight_decay", "noise", "initial_scale")
"""Fields that may hold a tuple of numbers, one a seed."""

LARGEST_SEED = 2**32 - 1
MOST_SEEDS = 10**7
WIDEST_LAYER = 65_536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What to train and what to measure. Every field is checked when the object is made.

    Vary one with `dataclasses.replace(config, ...)`. `train_fraction`, `learning_rate`, `weight_decay`, `noise` and
    `initial_scale` are a number, or a tuple of one a seed, in the order of `seed_list`: a sweep is one run, compiled
    once.

    Raises:
      ValueError: a value that is not allowed.
      TypeError: a value of the wrong type. Both messages name the field, the value, and what is allowed.
    """

    dataset: str = option(
        "spherical",
        "the task",
        note="a built-in one, see `ibjax.spherical_dataset`; `ibjax.run(dataset=...)` overrides it",
        usage="or a .mat or .npz file with the fields F and y, a .parquet with a column y, an idx file of images with "
        "that of its labels beside it",
        choices=DATASETS,
        metavar="NAME|FILE",
    )
    seeds: int | tuple[int, ...] = option(
        50,
        "the networks",
        note="an int n for those of the seeds 0..n-1, or a tuple that names them",
        usage="N for those of the seeds 0..N-1, A:B for A..B-1, or A,B,C (one alone: A,)",
        low=1,
        high=MOST_SEEDS,
        items=(0, LARGEST_SEED),
        metavar="N|A:B|A,B",
    )
    epochs: int = option(10_000, "passes over the training set", low=0, high=10**9)
    logged_epochs: int | tuple[int, ...] = option(
        250,
        "how many log-spaced epochs to measure at (duplicates merged, 0 and the last always among them)",
        note="or a tuple that names them, increasing, none beyond `epochs`",
        usage="one alone: E,",
        low=1,
        high=10**6,
        items=(0, 10**9),
    )
    hidden_widths: tuple[int, ...] = option(
        (12, 10, 7, 5, 4, 3, 2), "units of each hidden layer, from the input on", items=(1, WIDEST_LAYER)
    )
    activation: str = option(
        "tanh", "of the hidden layers", choices=("tanh", "relu", "linear", "softsign", "softplus", "arcsinh")
    )
    output: str = option(
        "sigmoid",
        "sigmoid is one unit for binary labels, softmax a unit per class, linear a unit for each number of the data "
        "set's targets",
        choices=("sigmoid", "softmax", "linear"),
    )
    loss: str = option(
        "cross_entropy",
        "what is trained on and told: the cross-entropy of the labels, or the mean squared error, of the data set's "
        "targets where it has any (`Dataset.from_targets`), else of the probabilities of the labels",
        choices=("cross_entropy", "mean_squared_error"),
    )
    train_fraction: float | tuple[float, ...] = option(
        0.85,
        "share of the patterns used for training; where seeds differ in it, an epoch is one pass of each over its "
        "training patterns: those with fewer take fewer steps",
        low=0,
        high=1,
        above=True,
    )
    split: str = option(
        "random",
        "random: drawn anew for each seed; ordered: the first patterns in counting order",
        choices=("random", "ordered"),
    )
    batch_size: int | None = option(
        256,
        "patterns in a minibatch, the last of an epoch may be smaller",
        note="None is the full batch",
        usage="all: the full batch",
        low=1,
        high=10**9,
        none="all",
    )
    shuffle: bool = option(True, "a new order of the patterns each epoch, or as they stand")
    optimizer: str = option(
        "sgd",
        "how the weights are updated",
        note="`ibjax.run(optimizer=...)` overrides it and the learning rate",
        choices=("sgd", "adam"),
    )
    phases: tuple[str | Phase, ...] = option(
        (),
        "rules that update the weights one after the other, none for the optimizer all along",
        note="phases of `ibjax.Phase`, or their words, which is how they are stored: `sgd:until=300`, "
        "`metropolis:temperature=0.001`",
        usage="as sgd:until=300,metropolis:temperature=0.001; a phase ends at an epoch, or for each network at loss<X, "
        "snr<X or i_ty_rise<X",
        choices=tuple(RULES),
        check=phases,
        metavar="RULE:...,RULE:...",
    )
    learning_rate: float | tuple[float, ...] = option(0.1, "step size of the optimizer", low=0, above=True)
    momentum: float = option(
        0.0,
        "of sgd, 0 for none: a step goes along t <- g + momentum * t, g the gradient (with its weight decay), which "
        "starts at 0",
        low=0,
        high=1,
    )
    weight_decay: float | tuple[float, ...] = option(
        0.0,
        "each step takes learning_rate * weight_decay of every parameter off, 0 for none: with sgd an L2 penalty of "
        "weight_decay / 2 times the sum of squares, with adam AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101); "
        "losses and gradients are told without it",
        low=0,
    )
    noise: float | tuple[float, ...] = option(
        0.0,
        "standard deviation of Gaussian noise on the activations of the hidden layers in training, as in Goldfeld et "
        "al. 2019 (arXiv 1810.05728), 0 for none; what is measured is the network without it",
        low=0,
    )
    initializer: str = option(
        "fan_in",
        "kernels are drawn from a normal distribution cut at two standard deviations, 1/sqrt(fan-in) or "
        "1/sqrt(fan-out) before the cut; biases start at zero",
        choices=("fan_in", "fan_out"),
    )
    initial_scale: float | tuple[float, ...] = option(
        1.0, "factor of the kernels that were drawn, of the built-in network", low=0, above=True
    )
    measure_on: str = option(
        "all",
        "the patterns whose information is measured, with p(x) in its proportions among them; train and test are those "
        "of each network",
        choices=("all", "train", "test"),
    )
    bins: int = option(30, "cells of the histogram for each unit", low=2, high=MOST_BINS)
    compat: str | None = option(
        None,
        "idnns: take the bins as the number of edges from -1 to 1, as the released code does, which makes one interval "
        "fewer and one more cell for values >= 1; none: equal cells",
        choices=COMPATS,
    )
    precision: str = option("float32", "of the training and of the measures", choices=("float32", "float64"))
    backend: str = option(
        "auto",
        "plain trains anything anywhere; fused trains many epochs in one launch, on an NVIDIA GPU only, and only the "
        "built-in network of tanh or relu units in float32 on binary inputs; auto takes the fused one where it can",
        choices=("auto", "plain", "fused"),
    )
    store_weights: bool = option(
        False,
        "keep all parameters at every logged epoch, for other estimators later",
        note="`ibjax.measure` applies them; `ibjax.ensemble.remeasure.weight_bytes` tells how much that is",
    )
    estimators: tuple[str | Estimator, ...] | Mapping[str, Mapping[str, Any]] = option(
        ("histogram",),
        "what to measure at every logged epoch; the histogram always is",
        note="that of `bins`, as `i_xt`, `i_ty`; the others are stored as `i_xt_<name>`, `i_ty_<name>`; with options: "
        '`{"kde": {"noise_variance": 0.1}}`, or the same in words, `"kde:noise_variance=0.1"`, which is how they are '
        "stored, or estimators of `ibjax.information.estimator.make`",
        usage="with options: kde:noise_variance=0.1,noisy:noise_std=0.05:samples=4",
        choices=ESTIMATORS,
        check=specifications,
    )

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)  # the class is frozen
        for field in dataclasses.fields(self):
            kind = _fields.kinds(Config)[field.name]
            put(field.name, _fields.check(field.name, getattr(self, field.name), kind, field.metadata))
        if isinstance(self.seeds, tuple):
            _checks.distinct("seeds", self.seeds)
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum = {self.momentum:g} with optimizer = {self.optimizer!r}; allowed: 0, or 'sgd'")
        self._check_phases()
        for name in PER_SEED:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.seed_list):
                raise ValueError(
                    f"{name} holds {len(value)} numbers for {len(self.seed_list)} seeds; allowed: one, or one a seed"
                )
        if isinstance(self.logged_epochs, tuple):
            epochs = _checks.integers("logged_epochs", self.logged_epochs, 0, self.epochs)
            if list(_checks.distinct("logged_epochs", epochs)) != sorted(epochs):
                raise ValueError(f"logged_epochs = {epochs}; allowed: epochs in increasing order")

    def _check_phases(self) -> None:
        for number, phase in enumerate(self.schedule):
            if isinstance(phase.until, int) and phase.until >= self.epochs:
                raise ValueError(
                    f"phases[{number}]: until = {phase.until} with epochs = {self.epochs}; allowed: an earlier "
                    "epoch than the last"
                )
        if self.phases and self.backend == "fused":
            raise ValueError("phases with backend = 'fused'; allowed: 'plain' or 'auto', or no phases")
        check_all_used(
            self.schedule,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            learning_rate=self.learning_rate,
        )

    @property
    def schedule(self) -> tuple[Phase, ...]:
        """The phases, in order; none for a run of one optimizer."""
        return tuple(of_words(str(text)) for text in self.phases)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds by name, (S,)."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def further_estimators(self) -> tuple[Estimator, ...]:
        """Those beside the histogram."""
        return tuple(of_specification(str(text)) for text in self.estimators if text != "histogram")

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


def field_rows() -> Iterator[tuple[str, str, str, str]]:
    """Of each field of `Config`, for a table: its name, its default, what it is, and what it may hold."""
    for field in dataclasses.fields(Config):
        about = field.metadata
        text = "; ".join(filter(None, (about["help"], about.get("note"))))
        yield field.name, repr(field.default), text, _fields.allowed(_fields.kinds(Config)[field.name], about)


Config.__doc__ = "\n".join(
    [
        inspect.cleandoc(Config.__doc__ or ""),
        "\nAttributes:",
        *(f"  {name}: {text}; allowed: {words} (default: {default})." for name, default, text, words in field_rows()),
    ]
)
