"""The shuffle, the draws and the training step against plain loops and counting.

Shapes: N patterns, n of them for training, B patterns of a batch, F features, C classes, S seeds.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
import pytest
from test_network import LinenNetwork, gradient, layers_of, model_of

from ibjax.networks.perceptron import Perceptron
from ibjax.networks.protocol import Model
from ibjax.training.gradients import GradientMoments
from ibjax.training.loss import correct, cross_entropy
from ibjax.training.rules.base import HyperParameters, StepInfo
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.shuffle import round_keys, swap_or_not
from ibjax.training.trainer import Sample, State, Trainer, epoch_positions

Integers = npt.NDArray[np.integer[Any]]


@functools.partial(jax.jit, static_argnums=1)
def shuffles(seeds: jax.Array, n: int) -> jax.Array:
    """A permutation of range(n) for each seed, (S, n)."""
    one = lambda seed: swap_or_not(jnp.arange(n, dtype=jnp.int32), n, round_keys(jax.random.key(seed), n))  # noqa: E731
    return jax.vmap(one)(seeds)


def chi_square(counts: Integers, expected: float) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


class TestShuffle:
    @pytest.mark.parametrize("n", [1, 2, 3, 7, 255, 256, 3481, 4096])
    def test_is_a_bijection(self, n: int) -> None:
        found = np.asarray(shuffles(jnp.arange(20, dtype=jnp.uint32), n))
        assert found.dtype == np.int32
        assert np.array_equal(np.sort(found, axis=1), np.broadcast_to(np.arange(n), found.shape))
        if n > 200:
            assert len({tuple(order) for order in found.tolist()}) == 20

    def test_rounds_in_plain_python(self) -> None:
        n = 11
        keys = round_keys(jax.random.key(5), n)
        expected = []
        for x in range(n):
            for reflection, factor, summand in np.asarray(keys).tolist():
                other = (reflection - x) % n
                if (max(x, other) * factor + summand) % 2**32 >= 2**31:
                    x = other
            expected.append(x)
        assert swap_or_not(jnp.arange(n, dtype=jnp.int32), n, keys).tolist() == expected
        assert (np.asarray(keys)[:, 0] < n).all()
        assert (np.asarray(keys)[:, 1] % 2 == 1).all()

    @pytest.mark.parametrize("n", [3, 16, 23])
    def test_every_place_is_equally_likely(self, n: int) -> None:
        """20,000 shuffles: how often element i goes to place j is chi-square with (n-1)^2 degrees of freedom.

        Threshold: mean + 5 standard deviations, sqrt(2 (n-1)^2) each.
        """
        found = np.asarray(shuffles(jnp.arange(20_000, dtype=jnp.uint32), n))
        counts = np.array([np.bincount(found[:, i], minlength=n) for i in range(n)])
        freedom = (n - 1) ** 2
        assert chi_square(counts, 20_000 / n) < freedom + 5 * (2 * freedom) ** 0.5

    def test_neighbours_do_not_stay_together(self) -> None:
        """Where two neighbours go, n (n-1) ordered pairs, all equally likely; the threshold as above."""
        n = 16
        found = np.asarray(shuffles(jnp.arange(20_000, dtype=jnp.uint32), n))
        for first, second in ((0, 1), (7, 8), (15, 0), (3, 12)):
            pairs = np.bincount(found[:, first] * n + found[:, second], minlength=n * n).reshape(n, n)
            assert not pairs.diagonal().any()
            counts = pairs[~np.eye(n, dtype=bool)]
            freedom = n * (n - 1) - 1
            assert chi_square(counts, 20_000 / (n * (n - 1))) < freedom + 5 * (2 * freedom) ** 0.5

    def test_all_orders_of_four(self) -> None:
        """24 permutations, 20,000 shuffles: chi-square with 23 degrees of freedom, threshold 23 + 5 sqrt(46) = 57."""
        found = np.asarray(shuffles(jnp.arange(20_000, dtype=jnp.uint32), 4))
        _, counts = np.unique(found @ [64, 16, 4, 1], return_counts=True)
        assert counts.size == 24
        assert chi_square(counts, 20_000 / 24) < 57

    def test_batches_of_a_large_set_mix_its_ends(self) -> None:
        """Of 4096 patterns, each batch of 256 takes as many of the first half as chance does.

        Hypergeometric: mean 128, variance 256/4 * 3840/4095 = 60; over 16 batches of 20 seeds the mean squared
        deviation is 60 +- 60 sqrt(2/300) = 5 each, four of which are allowed.
        """
        found = np.asarray(shuffles(jnp.arange(20, dtype=jnp.uint32), 4096)).reshape(20, 16, 256)
        deviation = (found < 2048).sum(axis=2) - 128.0
        assert (deviation**2).mean() == pytest.approx(60, abs=20)

    def test_epochs_have_different_orders(self) -> None:
        sample = Sample(jnp.arange(40), jnp.zeros(40, jnp.int32), jax.random.key(1), jnp.uint32(0))
        orders = {tuple(np.asarray(epoch_positions(sample, jnp.int32(e), 40, 40, True)[0][0])) for e in range(10)}
        assert len(orders) == 10
        again = epoch_positions(sample, jnp.int32(3), 40, 40, True)[0][0]
        assert tuple(np.asarray(again)) in orders

    @pytest.mark.parametrize("shuffle", [True, False])
    def test_every_place_is_taken_once(self, shuffle: bool) -> None:
        sample = Sample(jnp.arange(10), jnp.zeros(10, jnp.int32), jax.random.key(2), jnp.uint32(0))
        position, present = map(np.asarray, epoch_positions(sample, jnp.int32(0), 10, 4, shuffle))
        assert present.sum(axis=1).tolist() == [4, 4, 2]
        taken = position[present]
        assert sorted(taken) == list(range(10))
        assert (taken.tolist() == list(range(10))) is not shuffle
        assert position.min() >= 0
        assert position.max() < 10


def counter(n: int) -> Model:
    """A weight for each pattern of one-hot inputs: its gradient says how often the pattern was used, and in what batch.

    The logits are zero, so d loss / d weight = (1/2 - y) / (patterns in the batch).
    """
    return Model(lambda key: {"w": jnp.zeros(n)}, lambda params, x: ((params["w"] @ x)[None], []), (), (), ())


def trainer_of(
    model: Model,
    optimizer: optax.GradientTransformation = optax.sgd(0.5),  # noqa: B008  (never changed)
    elementwise: bool = True,
    **options: Any,
) -> Trainer:
    chosen: dict[str, Any] = {
        "make_rule": lambda _: GradientDescent(optimizer, model.unravel, elementwise),
        "n_train": 20,
        "batch_size": 8,
        "shuffle": True,
        "ordered_split": False,
    } | options
    return Trainer(model=model, **chosen)


def hard(labels: Integers, classes: int = 2) -> jax.Array:
    return jnp.asarray(np.eye(classes)[labels], jnp.float32)


class TestPatterns:
    def test_each_is_used_once_an_epoch(self) -> None:
        """Ten of fifteen patterns in batches of 4, 4, 2: mean gradient 1/2 / 4 / 3 of eight, 1/2 / 2 / 3 of two."""
        model = counter(15)
        trainer = trainer_of(model, n_train=10, batch_size=4)
        epoch = jax.jit(trainer.epoch)
        sample, state = jax.jit(trainer.start)(jnp.uint32(1), jnp.eye(15), hard(np.ones(15, int)))
        last_ones = set()
        for number in range(6):
            state, moments = epoch(sample, state, jnp.eye(15), jnp.int32(number), jnp.asarray(False))
            use = -np.asarray(moments.mean)
            np.testing.assert_allclose(np.sort(use), [0] * 5 + [1 / 24] * 8 + [1 / 12] * 2, rtol=0, atol=1e-7)
            assert set(np.flatnonzero(use)) == set(np.asarray(sample.patterns).tolist())
            last_ones.add(tuple(np.flatnonzero(use > 0.06)))
        assert len(last_ones) > 1  # another order, another last batch

    def test_counting_order(self) -> None:
        """Split and batches as they stand: patterns 0..9, of which 8 and 9 are left for the last batch."""
        trainer = trainer_of(counter(15), n_train=10, batch_size=4, shuffle=False, ordered_split=True)
        sample, state = jax.jit(trainer.start)(jnp.uint32(1), jnp.eye(15), hard(np.ones(15, int)))
        assert sample.patterns.tolist() == list(range(10))
        _, moments = jax.jit(trainer.epoch)(sample, state, jnp.eye(15), jnp.int32(4), jnp.asarray(False))
        np.testing.assert_allclose(-np.asarray(moments.mean), [1 / 24] * 8 + [1 / 12] * 2 + [0] * 5, rtol=0, atol=1e-7)

    def test_sizes_of_batches_by_their_moments(self) -> None:
        """Standard deviation of a pattern's gradient over three batches, of which one has it: g sqrt(2)/3."""
        trainer = trainer_of(counter(15), n_train=10, batch_size=4, shuffle=False, ordered_split=True)
        sample, state = jax.jit(trainer.start)(jnp.uint32(1), jnp.eye(15), hard(np.ones(15, int)))
        _, moments = jax.jit(trainer.epoch)(sample, state, jnp.eye(15), jnp.int32(0), jnp.asarray(False))
        assert int(moments.seen) == 3
        std = np.sqrt(np.asarray(moments.deviations) / 3)
        np.testing.assert_allclose(std, np.array([1 / 8] * 8 + [1 / 4] * 2 + [0] * 5) * 2**0.5 / 3, rtol=0, atol=1e-7)

    def test_drawn_splits_are_uniform(self) -> None:
        """2,000 splits of 20 out of 50: chi-square over patterns with 49 degrees of freedom, threshold 49 + 5 sqrt(98).

        A pattern is in with probability 0.4; counts have variance S p (1-p), their sum is fixed.
        """
        trainer = trainer_of(counter(50))
        start = jax.vmap(lambda seed: trainer.start(seed, jnp.eye(50), jnp.full((50, 2), 0.5))[0].patterns)
        patterns = np.asarray(jax.jit(start)(jnp.arange(2000, dtype=jnp.uint32)))
        assert (np.diff(patterns, axis=1) > 0).all()  # distinct, in the order of the data set
        counts = np.bincount(patterns.ravel(), minlength=50)
        statistic = ((counts - 800) ** 2).sum() / (2000 * 0.4 * 0.6) * 49 / 50
        assert statistic < 49 + 5 * 98**0.5


class TestLabels:
    def test_drawn_from_their_distribution(self) -> None:
        """2,000 networks, 50 patterns, 3 classes: chi-square, 100 degrees of freedom, threshold 100 + 5 sqrt(200)."""
        p_y = np.random.default_rng(3).dirichlet(np.full(3, 2.0), 50) * 0.94 + 0.02
        trainer = trainer_of(counter(50))
        start = jax.vmap(lambda seed: trainer.start(seed, jnp.eye(50), jnp.asarray(p_y, jnp.float32))[0].labels)
        labels = np.asarray(jax.jit(start)(jnp.arange(2000, dtype=jnp.uint32)))
        counts = np.array([(labels == c).sum(axis=0) for c in range(3)]).T
        assert (((counts - 2000 * p_y) ** 2) / (2000 * p_y)).sum() < 100 + 5 * 200**0.5
        # Patterns are drawn apart: the number of equal labels in two columns has a binomial spread.
        equal = (labels[:, :25] == labels[:, 25:]).mean(axis=0)
        expected = (p_y[:25] * p_y[25:]).sum(axis=1)
        assert np.abs(equal - expected).max() < 5 * (0.25 / 2000) ** 0.5

    @pytest.mark.parametrize("classes", [2, 3])
    def test_hard_ones_are_exact(self, classes: int) -> None:
        truth = np.random.default_rng(4).integers(0, classes, 50)
        trainer = trainer_of(counter(50))
        start = jax.vmap(lambda seed: trainer.start(seed, jnp.eye(50), hard(truth, classes))[0].labels)
        labels = np.asarray(jax.jit(start)(jnp.arange(500, dtype=jnp.uint32)))
        assert np.array_equal(labels, np.broadcast_to(truth, (500, 50)))

    def test_nothing_is_shared_between_the_draws(self) -> None:
        """Another seed changes weights, split, labels and order, each."""
        trainer = trainer_of(Perceptron((5, 4, 1)).model)
        start = jax.jit(lambda seed: trainer.start(seed, jnp.zeros((50, 5)), jnp.full((50, 2), 0.5)))
        (one, state), (other, state2), (again, state3) = (start(jnp.uint32(seed)) for seed in (0, 1, 0))
        assert not np.array_equal(one.patterns, other.patterns)
        assert not np.array_equal(one.labels, other.labels)
        assert not np.array_equal(jax.random.key_data(one.order), jax.random.key_data(other.order))
        assert not np.array_equal(state.params, state2.params)
        assert np.array_equal(one.patterns, again.patterns)
        assert np.array_equal(one.labels, again.labels)
        assert np.array_equal(state.params, state3.params)


X = np.random.default_rng(7).integers(0, 2, (30, 5)).astype(np.float64)
X_SINGLE = jnp.asarray(X, jnp.float32)
P_Y = np.random.default_rng(8).dirichlet(np.ones(3), 30)
P_BINARY = np.stack([1 - P_Y[:, 0], P_Y[:, 0]], axis=1)


def trained(trainer: Trainer, p_y: npt.NDArray[np.float64], epochs: int = 3) -> tuple[Sample, State, State]:
    """Sample, first state and last state of seed 6."""
    sample, start, end, _ = trained_with_moments(trainer, p_y, epochs)
    return sample, start, end


def trained_with_moments(
    trainer: Trainer, p_y: npt.NDArray[np.float64], epochs: int = 3
) -> tuple[Sample, State, State, GradientMoments]:
    """The same, and the moments of the last epoch's gradients."""
    epoch = jax.jit(trainer.epoch)
    sample, start = jax.jit(trainer.start)(jnp.uint32(6), X_SINGLE, jnp.asarray(p_y, jnp.float32))
    state = start
    for number in range(epochs):
        state, moments = epoch(sample, state, X_SINGLE, jnp.int32(number), jnp.asarray(True))
    return sample, start, state, moments


class TestTraining:
    @pytest.mark.parametrize(("output", "activation"), [("sigmoid", "tanh"), ("softmax", "softplus")])
    def test_three_epochs_are_a_plain_loop(self, output: str, activation: str) -> None:
        """Twenty patterns in batches of 8, 8 and 4, SGD at 0.5, in float64; nine steps of float32 stay within 1e-5."""
        p_y = P_BINARY if output == "sigmoid" else P_Y
        net = Perceptron((5, 4, 3, 1 if output == "sigmoid" else 3), activation, output)
        trainer = trainer_of(net.model)
        sample, start, end = trained(trainer, p_y)
        layers = layers_of(trainer.model.unravel(start.params))
        patterns, labels = np.asarray(sample.patterns), np.asarray(sample.labels)
        for number in range(3):
            keys = round_keys(jax.random.fold_in(sample.order, number), 20)
            order = np.asarray(swap_or_not(jnp.arange(20, dtype=jnp.int32), 20, keys))
            for first in (0, 8, 16):
                batch = patterns[order[first : first + 8]]
                step = gradient(layers, X[batch], labels[batch], activation)
                layers = [(k - 0.5 * dk, b - 0.5 * db) for (k, b), (dk, db) in zip(layers, step, strict=True)]
        for ours, theirs in zip(layers_of(trainer.model.unravel(end.params)), layers, strict=True):
            np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-5)
            np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=1e-5)
        moved = np.asarray(end.params) - np.asarray(start.params)
        assert np.abs(moved).max() > 0.05

    def test_parameters_as_a_vector_and_as_a_tree(self) -> None:
        model, optimizer = Perceptron((5, 4, 1)).model, optax.adam(0.01)
        vector, tree = (trainer_of(model, optimizer=optimizer, elementwise=e) for e in (True, False))
        np.testing.assert_allclose(
            trained(vector, P_BINARY)[2].params, trained(tree, P_BINARY)[2].params, rtol=0, atol=1e-6
        )

    def test_an_optimizer_that_sees_layers(self) -> None:
        """Only the last layer is trained: the others stay as they were, to the bit."""
        model = Perceptron((5, 4, 3, 1)).model
        mask = [{"kernel": last, "bias": last} for last in (False, False, True)]
        masked = optax.chain(
            optax.masked(optax.sgd(0.5), mask),
            optax.masked(optax.set_to_zero(), jax.tree.map(lambda last: not last, mask)),
        )
        trainer = trainer_of(model, optimizer=masked, elementwise=False)
        _, start, end = trained(trainer, P_BINARY)
        before, after = (layers_of(trainer.model.unravel(state.params)) for state in (start, end))
        for layer in range(2):
            assert np.array_equal(before[layer][0], after[layer][0])
            assert np.array_equal(before[layer][1], after[layer][1])
        assert np.abs(before[2][0] - after[2][0]).max() > 0.05

    @pytest.mark.parametrize("elementwise", [True, False])
    def test_without_learning_only_the_moments_change(self, elementwise: bool) -> None:
        model = Perceptron((5, 4, 1)).model
        trainer = trainer_of(model, optimizer=optax.adam(0.01), elementwise=elementwise)
        sample, _, state, before = trained_with_moments(trainer, P_BINARY)
        after, moments = jax.jit(trainer.epoch)(sample, state, X_SINGLE, jnp.int32(3), jnp.asarray(False))
        assert all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(after)))
        assert not np.array_equal(before.mean, moments.mean)
        # One pass at fixed parameters in three batches of 8, 8, 4: each weighs a third.
        layers = layers_of(trainer.model.unravel(state.params))
        position, present = map(np.asarray, epoch_positions(sample, jnp.int32(3), 20, 8, True))
        batches = [np.asarray(sample.patterns)[p[h]] for p, h in zip(position, present, strict=True)]
        steps = [gradient(layers, X[b], np.asarray(sample.labels)[b]) for b in batches]
        for layer, (kernel, bias) in enumerate(layers_of(trainer.model.unravel(moments.mean))):
            np.testing.assert_allclose(kernel, np.mean([s[layer][0] for s in steps], axis=0), rtol=0, atol=1e-6)
            np.testing.assert_allclose(bias, np.mean([s[layer][1] for s in steps], axis=0), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("network", "p_y"),
        [(Perceptron((5, 4, 3), output="softmax"), P_Y), (LinenNetwork(), P_BINARY)],
        ids=["own", "flax"],
    )
    def test_packed_inputs_are_the_same_inputs(self, network: Any, p_y: npt.NDArray[np.float64]) -> None:
        """Bits of a word instead of rows of floats: for the built-in network and for a module of flax."""
        plain = trainer_of(model_of(network))
        packed = dataclasses.replace(plain, bits=5)
        (_, _, one, mean), (sample, _, other, packed_mean) = (
            trained_with_moments(trainer, p_y) for trainer in (plain, packed)
        )
        assert sample.packed.shape == (20,)
        np.testing.assert_allclose(one.params, other.params, rtol=0, atol=1e-6)
        np.testing.assert_allclose(mean.mean, packed_mean.mean, rtol=0, atol=1e-6)

    def test_full_batch(self) -> None:
        """One step an epoch: gradient descent, no spread."""
        trainer = trainer_of(Perceptron((5, 4, 1)).model, batch_size=20)
        sample, start, end, moments = trained_with_moments(trainer, P_BINARY, epochs=1)
        chosen = np.asarray(sample.patterns)
        step = gradient(layers_of(trainer.model.unravel(start.params)), X[chosen], np.asarray(sample.labels)[chosen])
        for (before, _), (after, _), (d, _) in zip(
            layers_of(trainer.model.unravel(start.params)),
            layers_of(trainer.model.unravel(end.params)),
            step,
            strict=True,
        ):
            np.testing.assert_allclose(after, before - 0.5 * d, rtol=0, atol=1e-6)
        assert not np.asarray(moments.deviations).any()

    @pytest.mark.parametrize("size", [8, 20])
    def test_fewer_patterns_than_others_are_fewer_steps(self, size: int) -> None:
        """Seven of twenty places, in batches of 8 or all at once: the run of a trainer that knows of seven only."""
        model, adam = Perceptron((5, 4, 1)).model, optax.adam(0.01)
        alone = trainer_of(model, n_train=7, batch_size=min(size, 7), optimizer=adam)
        _, _, expected, expected_moments = trained_with_moments(alone, P_BINARY)
        among = trainer_of(model, n_train=20, batch_size=size, optimizer=adam)
        hyper = HyperParameters(n_train=jnp.int32(7))
        sample, state = among.start(jnp.uint32(6), X_SINGLE, jnp.asarray(P_BINARY, jnp.float32), hyper)
        assert len(set(np.asarray(sample.patterns).tolist())) == 7
        for number in range(3):
            state, moments = jax.jit(among.epoch)(sample, state, X_SINGLE, jnp.int32(number), jnp.asarray(True))
        assert int(moments.seen) == 1
        assert int(state.rule[0].count) == 3  # a step an epoch, not three
        np.testing.assert_allclose(state.params, expected.params, rtol=0, atol=1e-6)
        np.testing.assert_allclose(moments.mean, expected_moments.mean, rtol=0, atol=1e-6)

    def test_noise_is_a_plain_formula(self) -> None:
        """One full batch: the gradient at activations shifted by the noise of step 0, drawn here by its keys."""
        net = Perceptron((5, 4, 3, 1))
        trainer = trainer_of(net.model, batch_size=20)
        hyper = HyperParameters(noise_std=jnp.float32(0.3))
        sample, start = trainer.start(jnp.uint32(6), X_SINGLE, jnp.asarray(P_BINARY, jnp.float32), hyper)
        end, _ = jax.jit(trainer.epoch)(sample, start, X_SINGLE, jnp.int32(5), jnp.asarray(True))
        key = sample.order
        for data in (np.uint32(2**32 - 1), 5, 0):
            key = jax.random.fold_in(key, data)
        drawn = np.asarray(jax.random.normal(key, (20, 7)), np.float64) * 0.3
        position = np.asarray(epoch_positions(sample, jnp.int32(5), 20, 20, True)[0][0])
        batch = np.asarray(sample.patterns)[position]
        (k1, b1), (k2, b2), (k3, b3) = layers_of(trainer.model.unravel(start.params))
        x, y = X[batch], np.asarray(sample.labels)[batch][:, None]
        a1 = np.tanh(x @ k1 + b1)
        n1 = a1 + drawn[:, :4]
        a2 = np.tanh(n1 @ k2 + b2)
        n2 = a2 + drawn[:, 4:]
        d3 = (1 / (1 + np.exp(-(n2 @ k3 + b3))) - y) / 20
        d2 = d3 @ k3.T * (1 - a2**2)
        d1 = d2 @ k2.T * (1 - a1**2)
        after = layers_of(trainer.model.unravel(end.params))
        for (kernel, _), before, step in zip(after, (k1, k2, k3), (x.T @ d1, n1.T @ d2, n2.T @ d3), strict=True):
            np.testing.assert_allclose(kernel, before - 0.5 * step, rtol=0, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class RandomWalk:
    """A rule that takes no gradient; its state counts the steps."""

    def init(self, params: jax.Array) -> Any:
        return jnp.int32(0)

    def step(self, key: jax.Array, params: jax.Array, state: Any, loss: Any) -> tuple[jax.Array, Any, StepInfo]:
        return params + jax.random.normal(key, params.shape), state + 1, StepInfo(None)


class TestRules:
    def test_a_rule_without_gradients(self) -> None:
        """Three steps of an epoch draw from three keys of their own; without learning nothing changes."""
        trainer = dataclasses.replace(trainer_of(Perceptron((5, 4, 1)).model), make_rule=lambda _: RandomWalk())
        sample, start, end, moments = trained_with_moments(trainer, P_BINARY, epochs=1)
        assert int(end.rule) == 3
        assert int(moments.seen) == 0
        keys = jax.random.fold_in(jax.random.fold_in(sample.order, np.uint32(2**32 - 2)), 0)
        steps = [jax.random.normal(jax.random.fold_in(keys, i), start.params.shape) for i in range(3)]
        np.testing.assert_allclose(end.params, start.params + sum(steps), rtol=0, atol=1e-5)
        unchanged, _ = jax.jit(trainer.epoch)(sample, end, X_SINGLE, jnp.int32(1), jnp.asarray(False))
        assert all(map(np.array_equal, jax.tree.leaves(end), jax.tree.leaves(unchanged)))


class TestLoss:
    logits = np.random.default_rng(9).normal(0, 3, (40, 4))
    labels = np.random.default_rng(10).integers(0, 4, 40)

    def test_softmax(self) -> None:
        z = jnp.asarray(self.logits.T, jnp.float32)
        chosen = self.logits[np.arange(40), self.labels]
        expected = np.log(np.exp(self.logits).sum(axis=1)) - chosen
        np.testing.assert_allclose(cross_entropy(z, jnp.asarray(self.labels)), expected, rtol=0, atol=1e-5)
        right = self.logits.argmax(axis=1) == self.labels
        assert np.array_equal(correct(z, jnp.asarray(self.labels)), right)
        assert 0 < right.sum() < 40

    def test_sigmoid(self) -> None:
        column, y = self.logits[:, :1], self.labels % 2
        z = jnp.asarray(column.T, jnp.float32)
        p = 1 / (1 + np.exp(-column[:, 0]))
        expected = -np.log(np.where(y == 1, p, 1 - p))
        np.testing.assert_allclose(cross_entropy(z, jnp.asarray(y)), expected, rtol=0, atol=1e-5)
        right = (p > 0.5) == (y == 1)
        assert np.array_equal(correct(z, jnp.asarray(y)), right)
        assert 0 < right.sum() < 40

    def test_two_logits_are_their_difference(self) -> None:
        two = jnp.asarray(self.logits[:, :2].T, jnp.float32)
        y = jnp.asarray(self.labels % 2)
        np.testing.assert_allclose(cross_entropy(two, y), cross_entropy(two[1:] - two[:1], y), rtol=0, atol=1e-5)

    def test_sure_and_wrong_is_linear_not_infinite(self) -> None:
        z = jnp.array([[1000.0, -1000.0, 1000.0]])
        assert cross_entropy(z, jnp.array([0, 1, 1])).tolist() == [1000, 1000, 0]
        assert cross_entropy(jnp.array([[0.0], [1000.0]]), jnp.array([0])).tolist() == [1000]
