"""The compiled functions of a configuration: start, train and measure a block of networks.

Shapes: K seeds of a block, L layers, N patterns, F features, C classes, U units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax import Array

from ibjax.config import PER_SEED, Config
from ibjax.data.dataset import Dataset
from ibjax.ensemble.measurement import Estimate
from ibjax.information import partition
from ibjax.information.estimator import Estimator, make
from ibjax.information.histogram import activation_range, histogram_information
from ibjax.networks.flax import as_model
from ibjax.networks.perceptron import BOUNDED, Perceptron
from ibjax.networks.protocol import Model, check_contract
from ibjax.training import gradients
from ibjax.training.fused import FusedTrainer, supports
from ibjax.training.trainer import Sample, Settings, State, Trainer, correct, cross_entropy

_OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "adam": optax.adam,
}


class Record(NamedTuple):
    """What is measured of a block at one logged epoch: the arrays of the file, with K for S and no E.

    `params` are the vectors of all parameters (K, P) where weights are stored, else (K, 0); `estimates` are those of
    the configuration's further estimators, (K, R, L) with the rows of `Program.estimate_keys`: zeros until the programs
    of `Program.estimates` have filled them.
    """

    i_xt: Any
    i_ty: Any
    range_low: Any
    range_high: Any
    train_loss: Any
    test_loss: Any
    train_accuracy: Any
    test_accuracy: Any
    gradient_mean: Any
    gradient_std: Any
    weight_norm: Any
    params: Any
    finite: Any
    estimates: Any


class Program:
    """The compiled functions of one configuration; each is traced and compiled once, whatever the number of seeds."""

    def __init__(
        self, config: Config, dataset: Dataset, network: Any, optimizer: optax.GradientTransformation | None
    ) -> None:
        n = dataset.n_patterns
        fraction = config.train_fraction
        own_n = [int(f * n) for f in (fraction if isinstance(fraction, tuple) else (fraction,))]
        fewest, n_train = min(own_n), max(own_n)
        if fewest < 1:
            least = min(fraction) if isinstance(fraction, tuple) else fraction
            raise ValueError(f"train_fraction = {least:g} leaves none of {n} patterns for training")
        if config.batch_size is not None and config.batch_size > fewest:
            raise ValueError(f"batch_size = {config.batch_size}; allowed: at most the {fewest} training patterns")
        if config.measure_on == "test" and n_train == n:
            raise ValueError(f"measure_on = 'test' with train_fraction = {n_train / n:g}; allowed: less than 1")
        if network is None and config.output == "sigmoid" and dataset.n_classes != 2:
            raise ValueError(f"output = 'sigmoid' with {dataset.n_classes} classes; allowed: 'softmax'")
        if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(f"optimizer = {optimizer!r}; allowed: an optax.GradientTransformation")
        if optimizer is not None and isinstance(config.learning_rate, tuple):
            raise ValueError("learning_rate of each seed with an optimizer of your own; allowed: one number")
        self.config, self.dataset = config, dataset
        self.dtype = jnp.dtype(config.precision)
        self.network = self._perceptron() if network is None else network
        model = as_model(self.network, dataset.inputs[: min(n, 2)].astype(self.dtype))
        if model.hidden is None and _positive(config.noise):
            raise ValueError(f"noise = {config.noise} with a network of your own; allowed: 0 (add it in the network)")
        self._own, self._own_seeds = _own_settings(config, own_n)
        configured, rate = _OPTIMIZERS[config.optimizer], config.learning_rate
        self.trainer = Trainer(
            model=model,
            optimizer=optimizer or (configured if isinstance(rate, tuple) else configured(rate)),
            elementwise=optimizer is None,
            n_train=n_train,
            batch_size=config.batch_size or n_train,
            shuffle=config.shuffle,
            ordered_split=config.split == "ordered",
            bits=_packable_bits(dataset),
        )
        self.fused = self._fused()
        self.layer_widths = check_contract(model, dataset, self.dtype, trusted=network is None)
        count = len(self.layer_widths)
        known = isinstance(self.network, Perceptron)
        self.layer_names = self.network.layer_names if known else _names(model, count)
        self.fixed_range = [known and config.activation in BOUNDED] * (count - 1) + [known]
        self.inputs = dataset.inputs.astype(self.dtype)
        self.conditional = dataset.conditional.astype(self.dtype)
        self.estimates = [self.estimate(make(name)) for name in config.estimators if name != "histogram"]

    @property
    def histogram(self) -> Estimator:
        """What `measure` applies, as an estimator of its own."""
        return make("histogram", bins=self.config.bins, compat=self.config.compat)

    @property
    def estimators(self) -> list[Estimator]:
        """All that are applied, the histogram of `measure` first."""
        return [self.histogram, *(estimate.estimator for estimate in self.estimates)]

    @property
    def n_params(self) -> int:
        """P."""
        tree = jax.eval_shape(self.trainer.model.init, jax.eval_shape(lambda: jax.random.key(0)))
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    @property
    def estimate_keys(self) -> tuple[str, ...]:
        """The file's keys of the rows R of `Record.estimates`."""
        return tuple(f"{row}_{estimate.estimator.name}" for estimate in self.estimates for row in estimate.rows)

    def estimate(self, estimator: Estimator) -> Estimate:
        """Another estimator of all layers, to be compiled beside `measure`.

        Raises:
          ValueError: a layer is out of its reach, or not all patterns are measured.
        """
        if self.config.measure_on != "all":
            raise ValueError(
                f"estimator {estimator.name!r} with measure_on = {self.config.measure_on!r}; allowed: 'all' "
                "(a part of the patterns is for the run's own histogram)"
            )
        return Estimate(
            estimator,
            model=self.trainer.model,
            unravel=self.trainer.unravel,
            names=self.layer_names,
            widths=self.layer_widths,
            bounded=self.fixed_range,
            n_patterns=self.dataset.n_patterns,
            p_x=None if self.dataset.p_x is None else np.asarray(self.dataset.p_x, self.dtype),
        )

    def _perceptron(self) -> Perceptron:
        outputs = 1 if self.config.output == "sigmoid" else self.dataset.n_classes
        return Perceptron(
            (self.dataset.n_features, *self.config.hidden_widths, outputs),
            self.config.activation,
            self.config.output,
            self.config.initializer,
            self.config.precision,
        )

    def _fused(self) -> FusedTrainer | None:
        """The GPU's trainer, where `config.backend` asks for it."""
        backend, on_gpu = self.config.backend, jax.default_backend() == "gpu"
        can = supports(self.network, self.trainer) and not jax.tree.leaves(self._own)
        if backend == "plain" or (backend == "auto" and not (on_gpu and can)):
            return None
        if not can:
            raise ValueError(
                "backend = 'fused'; allowed for the built-in network of tanh units narrower than 64, in float32, with "
                "an optimizer of the configuration, on inputs of 0 and 1 that fit 30 bits, without noise and with one "
                "learning_rate and train_fraction for all seeds; else 'plain' or 'auto'"
            )
        return FusedTrainer(self.network, self.trainer, interpret=not on_gpu)

    def start(self, seeds: Array, inputs: Array, conditional: Array) -> tuple[Sample, State]:
        """Fresh networks for a block of seeds (K,), each with its own hyper-parameters."""
        row = jnp.clip(jnp.searchsorted(self._own_seeds, seeds), 0, len(self._own_seeds) - 1)
        own = jax.tree.map(lambda values: jnp.asarray(values)[row], self._own)
        return jax.vmap(self.trainer.start, in_axes=(0, None, None, 0))(seeds, inputs, conditional, own)

    def train(self, sample: Sample, state: State, inputs: Array, first: Array, last: Array, learn: Array) -> State:
        """Epochs first, first + 1, ... last - 1 of a block; one program for any number of them."""
        if self.fused is not None:
            return self.fused.epochs(sample, state, first, last, learn)
        one = lambda i, s: jax.vmap(self.trainer.epoch, in_axes=(0, 0, None, None, None))(sample, s, inputs, i, learn)  # noqa: E731
        return jax.lax.fori_loop(first, last, one, state)

    def measure(self, sample: Sample, state: State, inputs: Array, conditional: Array) -> Record:
        """All that is logged of a block."""
        axis = self.trainer.model.patterns_axis
        n = conditional.shape[0]
        patterns = inputs if axis == 0 else inputs.T
        tree = jax.vmap(self.trainer.unravel)
        params = tree(state.params)
        logits, activations = jax.vmap(self.trainer.model.forward, in_axes=(0, None))(params, patterns)
        loss = jax.vmap(cross_entropy, in_axes=(0, 0, None))(logits, sample.labels, axis)
        hit = jax.vmap(correct, in_axes=(0, 0, None))(logits, sample.labels, axis).astype(loss.dtype)
        trained = jax.vmap(lambda patterns: jnp.zeros(n, loss.dtype).at[patterns].set(1))(sample.patterns)

        def mean(values: Array, weight: Array) -> Array:
            return partition.tree_sum(values * weight) / partition.tree_sum(
                weight
            )  # 0/0 = NaN where there are no tests

        p_x = None if self.dataset.p_x is None else jnp.asarray(self.dataset.p_x, self.dtype)
        inside = None if self.config.measure_on == "all" else (trained > 0) == (self.config.measure_on == "train")
        if inside is None:
            channels = partition.channels(conditional, p_x, self.dtype)
        else:
            weights = inside.astype(self.dtype) * (1 if p_x is None else p_x)
            channels = partition.channels_per_network(conditional, weights, self.dtype)
        information, ranges = [], []
        for layer, fixed in zip(activations, self.fixed_range, strict=True):
            units_first = jnp.moveaxis(layer, 2 - axis, 0)  # (U, K, N)
            if inside is not None:
                units_first = _only(units_first, inside)
            low, high = (jnp.full((1, len(layer), 1), end, self.dtype) for end in (-1, 1))
            if not fixed:
                low, high = activation_range(units_first)
            information.append(
                histogram_information(
                    units_first, channels, bins=self.config.bins, low=low, high=high, compat=self.config.compat
                )
            )
            ranges.append((low[0, :, 0], high[0, :, 0]))
        i_xt, i_ty = (jnp.stack(values, axis=1) for values in zip(*information, strict=True))
        range_low, range_high = (jnp.stack(values, axis=1) for values in zip(*ranges, strict=True))
        norms = lambda vectors: self._by_layer(jax.vmap(gradients.norms)(tree(vectors)))  # noqa: E731
        train_loss = mean(loss, trained)
        return Record(
            i_xt,
            i_ty,
            range_low,
            range_high,
            train_loss,
            mean(loss, 1 - trained),
            mean(hit, trained),
            mean(hit, 1 - trained),
            norms(state.moments.mean),
            norms(jax.vmap(gradients.spread)(state.moments)),
            norms(state.params),
            state.params if self.config.store_weights else state.params[:, :0],
            jnp.isfinite(train_loss) & jnp.isfinite(state.params).all(axis=1),
            jnp.zeros((len(i_xt), len(self.estimate_keys), len(self.layer_widths)), self.dtype),
        )

    def layer_weights(self, params: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Stored vectors (S, E, P) as `weights_<layer>` (S, E, U', U) and `biases_<layer>` (S, E, U).

        Those of a network whose layers are not known to have these go by the name `params`, as they are.
        """
        if not isinstance(self.network, Perceptron):
            return {"params": params}
        layers = jax.vmap(jax.vmap(self.trainer.unravel))(jnp.asarray(params))
        named = list(zip(self.layer_names, layers, strict=True))
        return {
            f"{kind}_{name}": np.asarray(layer[part])
            for kind, part in (("weights", "kernel"), ("biases", "bias"))
            for name, layer in named
        }

    def _by_layer(self, values: Array) -> Array:
        """(K, kernels) as (K, L); NaN where a network's kernels are not one a layer."""
        layers = len(self.layer_widths)
        return values if values.shape[1] == layers else jnp.full((len(values), layers), jnp.nan, values.dtype)


def _positive(value: float | tuple[float, ...]) -> bool:
    return any(value) if isinstance(value, tuple) else value > 0


def _own_settings(config: Config, own_n: list[int]) -> tuple[Settings, npt.NDArray[np.uint32]]:
    """What differs between the seeds, (S,) each, or is not for all programs; and these seeds, increasing."""
    seeds = np.array(config.seed_list, np.uint32)
    order = np.argsort(seeds)

    def of_seeds(value: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.asarray(value, dtype), seeds.shape)[order]

    varied = {field for field in PER_SEED if isinstance(getattr(config, field), tuple)}
    own = Settings(
        train_fraction=of_seeds(own_n, np.int32) if "train_fraction" in varied else None,
        learning_rate=of_seeds(config.learning_rate, config.precision) if "learning_rate" in varied else None,
        noise=of_seeds(config.noise, config.precision) if _positive(config.noise) else None,
    )
    return own, seeds[order]


def _names(model: Model, count: int) -> tuple[str, ...]:
    """The network's own names of its layers, where it has one for each; else layer_1 ... output."""
    own = model.names
    if own is not None and len(own) == count == len(set(own)) and all(name and name.isprintable() for name in own):
        return own
    return (*(f"layer_{i}" for i in range(1, count)), "output")


def _only(activations: Array, inside: Array) -> Array:
    """(U, K, N) activations where patterns outside, (K, N), repeat the first one inside: they widen no range."""
    there = jnp.where(inside, jnp.arange(inside.shape[1]), jnp.argmax(inside, axis=1)[:, None])
    return jnp.take_along_axis(activations, there[None], axis=2)


def _packable_bits(dataset: Dataset) -> int:
    """F where the inputs are all 0 or 1 and fit a 32-bit word beside the label, else 0."""
    label_bits = (dataset.n_classes - 1).bit_length()
    fits = dataset.n_features + label_bits <= 32
    return dataset.n_features if fits and bool(np.isin(dataset.inputs, (0, 1)).all()) else 0
