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

from ibjax import gradients
from ibjax.config import Config
from ibjax.data import Dataset
from ibjax.estimates import Estimate
from ibjax.fused import FusedTrainer, supports
from ibjax.information import cells
from ibjax.information.estimator import Estimator, make
from ibjax.information.histogram import histogram_information, own_range
from ibjax.network import BOUNDED, Model, Perceptron, as_model
from ibjax.training import Sample, State, Trainer, correct, cross_entropy

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
        n_train = int(config.train_fraction * n)
        if n_train < 1:
            raise ValueError(f"train_fraction = {config.train_fraction:g} leaves none of {n} patterns for training")
        if config.batch_size is not None and config.batch_size > n_train:
            raise ValueError(f"batch_size = {config.batch_size}; allowed: at most the {n_train} training patterns")
        if network is None and config.output == "sigmoid" and dataset.n_classes != 2:
            raise ValueError(f"output = 'sigmoid' with {dataset.n_classes} classes; allowed: 'softmax'")
        if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
            raise TypeError(f"optimizer = {optimizer!r}; allowed: an optax.GradientTransformation")
        self.config, self.dataset = config, dataset
        self.dtype = jnp.dtype(config.precision)
        self.network = self._perceptron() if network is None else network
        model = as_model(self.network, dataset.inputs[: min(n, 2)].astype(self.dtype))
        self.trainer = Trainer(
            model=model,
            optimizer=_OPTIMIZERS[config.optimizer](config.learning_rate) if optimizer is None else optimizer,
            elementwise=optimizer is None,
            n_train=n_train,
            batch_size=config.batch_size or n_train,
            shuffle=config.shuffle,
            ordered_split=config.split == "ordered",
            bits=_packable_bits(dataset),
        )
        self.fused = self._fused()
        self.layer_widths = self._widths(model)
        count = len(self.layer_widths)
        known = isinstance(self.network, Perceptron)
        self.layer_names = self.network.layer_names if known else (*(f"layer_{i}" for i in range(1, count)), "output")
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
          ValueError: a layer is out of its reach.
        """
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
        if backend == "plain" or (backend == "auto" and not (on_gpu and supports(self.network, self.trainer))):
            return None
        if not supports(self.network, self.trainer):
            raise ValueError(
                "backend = 'fused'; allowed for the built-in network of tanh units narrower than 64, in float32, with "
                "an optimizer of the configuration, on inputs of 0 and 1 that fit 30 bits; else 'plain' or 'auto'"
            )
        return FusedTrainer(self.network, self.trainer, interpret=not on_gpu)

    def _widths(self, model: Model) -> tuple[int, ...]:
        """The layers' widths, from the network's shapes; refuses a network that does not keep the contract."""
        size = min(self.dataset.n_patterns, 2)
        shape = (size, self.dataset.n_features)

        def forward(key: Array) -> Any:
            inputs = jnp.zeros(shape if model.patterns_axis == 0 else shape[::-1], self.dtype)
            return model.forward(model.init(key), inputs)

        result = jax.eval_shape(forward, jax.eval_shape(lambda: jax.random.key(0)))
        try:
            logits, activations = result
            shapes = [a.shape for a in activations]
        except (TypeError, ValueError, AttributeError):
            raise TypeError(
                "network returned no pair (logits, activations) with one activation array a layer"
            ) from None
        axis = model.patterns_axis
        wrong = [s for s in (logits.shape, *shapes) if len(s) != 2 or s[axis] != size]
        classes = self.dataset.n_classes
        if wrong or not shapes:
            raise ValueError(f"network returned arrays of shape {wrong} for {size} patterns; allowed: (batch, width)")
        if logits.shape[1 - axis] not in ({1, 2} if classes == 2 else {classes}):
            raise ValueError(f"network returned {logits.shape[1 - axis]} logits for {classes} classes")
        return tuple(s[1 - axis] for s in shapes)

    def start(self, seeds: Array, inputs: Array, conditional: Array) -> tuple[Sample, State]:
        """Fresh networks for a block of seeds (K,)."""
        return jax.vmap(self.trainer.start, in_axes=(0, None, None))(seeds, inputs, conditional)

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
            return cells.tree_sum(values * weight) / cells.tree_sum(weight)  # 0/0 = NaN where there are no tests

        p_x = self.dataset.p_x
        y = cells.labels(conditional, None if p_x is None else jnp.asarray(p_x, self.dtype), self.dtype)
        information, ranges = [], []
        for layer, fixed in zip(activations, self.fixed_range, strict=True):
            units_first = jnp.moveaxis(layer, 2 - axis, 0)  # (U, K, N)
            low, high = (jnp.full((1, len(layer), 1), end, self.dtype) for end in (-1, 1))
            if not fixed:
                low, high = own_range(units_first)
            information.append(
                histogram_information(
                    units_first, y, bins=self.config.bins, low=low, high=high, compat=self.config.compat
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


def _packable_bits(dataset: Dataset) -> int:
    """F where the inputs are all 0 or 1 and fit a 32-bit word beside the label, else 0."""
    label_bits = (dataset.n_classes - 1).bit_length()
    fits = dataset.n_features + label_bits <= 32
    return dataset.n_features if fits and bool(np.isin(dataset.inputs, (0, 1)).all()) else 0
