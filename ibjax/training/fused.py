"""A GPU's way to train the built-in network: one kernel for a whole epoch, one block of threads a seed.

Step by step, a GPU spends its time on launching kernels: a minibatch of a 12-10-7-5-4-3-2 network is a few microseconds
of arithmetic in tens of kernels. Here the weights and the optimizer's state of a seed stay on the chip for all the
minibatches of an epoch, and the seeds run beside each other, one on each multiprocessor. Written in Pallas; on a CPU it
is interpreted: right, and slow. The results are those of `Trainer.epoch` up to the order of float32 sums.

Tricks, and why:
- Every layer is one P x P matrix, P a power of two of at least 16: what the matrix units take. Row `fan_in` holds the
  bias, against a unit that is always 1, so that bias and kernel share their products.
- A minibatch goes in tiles of 64 patterns, so that the activations of all layers stay in registers.
- Inputs are unpacked from one 32-bit word a pattern: an epoch of a seed is 14 KB.

Shapes: K seeds, L layers, P padded width, n patterns for training, B patterns of a batch.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental import pallas as pl

from ibjax.networks.perceptron import Perceptron
from ibjax.training import gradients
from ibjax.training.gradients import GradientMoments
from ibjax.training.rules import GradientDescent
from ibjax.training.trainer import HyperParameters, Sample, State, Trainer, epoch_positions

_TILE = 64
_SMALLEST, _LARGEST = 16, 64
_PRESENT = np.uint32(1 << 31)


def supports(network: Any, trainer: Trainer) -> bool:
    """Whether a network can be trained here: the built-in one, of tanh units, narrow, on packed inputs."""
    rule = trainer.make_rule(HyperParameters())
    return (
        isinstance(network, Perceptron)
        and network.activation == "tanh"
        and network.dtype == "float32"
        and max(network.widths) < _LARGEST
        and isinstance(rule, GradientDescent)
        and rule.elementwise
        and 0 < trainer.bits < 31 - (network.widths[-1] - 1).bit_length()
    )


def _triton() -> Any:
    """Pallas' Triton backend."""
    from jax.experimental.pallas import triton  # deprecated since jax 0.11: where it is gone, only this kernel is

    return triton


class FusedTrainer:
    """Trains a block of seeds epoch by epoch; the counterpart of `jax.vmap(trainer.epoch)`."""

    def __init__(self, network: Perceptron, trainer: Trainer, *, interpret: bool) -> None:
        self._network, self._trainer, self._interpret = network, trainer, interpret
        rule = trainer.make_rule(HyperParameters())
        if not isinstance(rule, GradientDescent):
            raise TypeError(f"rule = {rule!r}; allowed: GradientDescent")
        self._optimizer = rule.optimizer
        self._size = max(_SMALLEST, 1 << max(network.widths).bit_length())
        self._index = self._places()

    def epochs(
        self, sample: Sample, state: State, first: Array, last: Array, learn: Array
    ) -> tuple[State, GradientMoments]:
        """Epochs first ... last - 1 of a block; arguments as for `Trainer.epoch`, with a leading axis K."""
        start = jax.tree.map(self._pad, tuple(state))
        moments = jax.vmap(gradients.begin)(start[0])

        def one(number: Array, carry: Any) -> Any:
            words = jax.vmap(self._words, in_axes=(0, None))(sample, number)
            return self._kernel(words, carry[0], learn)

        trained, moments = lax.fori_loop(first, last, one, (start, moments))
        return State(*jax.tree.map(self._cut, trained)), jax.tree.map(self._cut, moments)

    def _places(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Where each entry of the vector of parameters stands in the padded matrices (L, P, P), flat."""
        size, places = self._size, []
        for layer, (fan_in, fan_out) in enumerate(
            zip(self._network.widths[:-1], self._network.widths[1:], strict=True)
        ):
            rows, columns = np.meshgrid(np.arange(fan_in + 1), np.arange(fan_out), indexing="ij")
            flat = (layer * size + rows) * size + columns
            places += [flat[-1], flat[:-1].reshape(-1)]  # the tree's order: bias, kernel
        return np.concatenate(places).astype(np.int32)

    def _is_vector(self, leaf: Array) -> bool:
        return leaf.ndim == 2 and leaf.shape[1] == len(self._index)

    def _pad(self, leaf: Array) -> Array:
        if not self._is_vector(leaf):
            return leaf
        layers, size = len(self._network.widths) - 1, self._size
        padded = jnp.zeros((len(leaf), layers * size * size), leaf.dtype).at[:, self._index].set(leaf)
        return padded.reshape(-1, layers, size, size)

    def _cut(self, leaf: Array) -> Array:
        return leaf.reshape(len(leaf), -1)[:, self._index] if leaf.ndim == 4 else leaf

    def _words(self, sample: Sample, number: Array) -> Array:
        """Input bits, label and a flag of presence of each pattern of an epoch, (steps, B rounded up to tiles)."""
        trainer = self._trainer
        position, present = epoch_positions(sample, number, trainer.n_train, trainer.batch_size, trainer.shuffle)
        words = sample.packed.at[position].get(mode="promise_in_bounds") | jnp.where(present, _PRESENT, 0)
        missing = -trainer.batch_size % _TILE
        return jnp.pad(words * present, ((0, 0), (0, missing)))

    def _kernel(self, words: Array, carry: Any, learn: Array) -> Any:
        """One epoch of every seed: (params, optimizer) and the gradients' moments, padded."""
        flat, structure = jax.tree.flatten(carry)
        moments = jax.vmap(gradients.begin)(carry[0])
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (*flat, *jax.tree.leaves(moments))]

        def block(shape: tuple[int, ...]) -> pl.BlockSpec:
            return pl.BlockSpec((1, *shape[1:]), lambda seed: (seed, *(0 for _ in shape[1:])))

        call = pl.pallas_call(
            functools.partial(self._epoch, structure),
            grid=(len(words),),
            in_specs=[
                pl.BlockSpec((1,), lambda seed: (0,)),
                block(words.shape),
                *(block(a.shape) for a in flat),
            ],
            out_specs=[block(s.shape) for s in shapes],
            out_shape=shapes,
            interpret=self._interpret,
            compiler_params=_triton().CompilerParams(num_warps=8, num_stages=1),
        )
        out = call(learn.astype(jnp.float32).reshape(1), words, *flat)
        return jax.tree.unflatten(structure, out[: len(flat)]), GradientMoments(*out[len(flat) :])

    def _epoch(self, structure: Any, learn_ref: Any, words_ref: Any, *refs: Any) -> None:
        """The kernel: all minibatches of one epoch of one seed."""
        layers = len(self._network.widths) - 1
        count = structure.num_leaves
        inputs, outputs, moment_refs = refs[:count], refs[count : 2 * count], refs[2 * count :]

        def read(ref: Any) -> Any:
            # A list of L matrices: registers can be named, not indexed.
            return [ref[0, layer] for layer in range(layers)] if len(ref.shape) == 4 else ref[0]

        def write(ref: Any, value: Any) -> None:
            if len(ref.shape) == 4:
                for layer in range(layers):
                    ref[0, layer] = value[layer]
            else:
                ref[0] = value

        learn = learn_ref[0] > 0
        params, optimizer = jax.tree.unflatten(structure, [read(ref) for ref in inputs])

        def step(index: Array, carry: Any) -> Any:
            params, optimizer, moments = carry
            gradient = self._gradient(words_ref, index, params)
            updates, updated = self._optimizer.update(gradient, optimizer, params)
            changed = ([p + u for p, u in zip(params, updates, strict=True)], updated)
            kept = jax.tree.map(lambda new, old: jnp.where(learn, new, old), changed, (params, optimizer))
            return *kept, gradients.add(moments, gradient)

        steps = words_ref.shape[1]
        params, optimizer, moments = lax.fori_loop(0, steps, step, (params, optimizer, gradients.begin(params)))
        # The lists of matrices are leaves of the padded trees: they are put back where one array stood.
        whole = structure.flatten_up_to((params, optimizer))
        for ref, value in zip(outputs, whole, strict=True):
            write(ref, value)
        for ref, value in zip(moment_refs, moments, strict=True):
            write(ref, value)

    def _gradient(self, words_ref: Any, index: Array, params: list[Array]) -> list[Array]:
        """Gradient of the mean loss of one minibatch, a matrix a layer."""
        tiles = words_ref.shape[2] // _TILE

        def tile(part: Array, total: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
            seen, sums = total
            words = words_ref[0, index, pl.ds(part * _TILE, _TILE)]
            found, gradient = self._tile_gradient(words, params)
            return seen + found, [a + b for a, b in zip(sums, gradient, strict=True)]

        start = (jnp.float32(0), [jnp.zeros_like(p) for p in params])
        seen, sums = lax.fori_loop(0, tiles, tile, start)
        return [s / seen for s in sums]

    def _tile_gradient(self, words: Array, params: list[Array]) -> tuple[Array, list[Array]]:
        """How many patterns of a tile are present, and the gradient of the sum of their losses."""
        widths, bits = self._network.widths, self._trainer.bits
        column = lax.broadcasted_iota(jnp.int32, (_TILE, self._size), 1)
        dot = functools.partial(getattr(_triton(), "dot", None) or pl.dot, allow_tf32=False)  # jax 0.10.2 moved it
        spread = jnp.broadcast_to(words[:, None], column.shape)
        one = jnp.float32(1)
        x = ((spread >> column.astype(jnp.uint32)) & 1).astype(jnp.float32)
        a = jnp.where(column < bits, x, jnp.where(column == bits, one, 0))
        activations = [a]
        for layer, width in enumerate(widths[1:-1]):
            z = dot(activations[-1], params[layer])
            activations.append(jnp.where(column < width, jnp.tanh(z), jnp.where(column == width, one, 0)))
        z = dot(activations[-1], params[-1])
        present = (spread >> 31).astype(jnp.float32)
        label = ((spread & ~_PRESENT) >> bits).astype(jnp.int32)
        if self._network.output == "sigmoid":
            miss = jnp.where(column == 0, jax.nn.sigmoid(z) - label.astype(jnp.float32), 0)
        else:
            inside = column < widths[-1]
            e = jnp.where(inside, jnp.exp(z - jnp.max(jnp.where(inside, z, -jnp.inf), axis=1, keepdims=True)), 0)
            miss = e / jnp.sum(e, axis=1, keepdims=True) - jnp.where(column == label, one, 0)
        d = miss * present
        gradient: list[Array] = []
        for layer in range(len(params) - 1, -1, -1):
            a = activations[layer]
            gradient.append(dot(a, d, trans_a=True))
            if layer:
                back = dot(d, params[layer], trans_b=True)
                d = jnp.where(column < widths[layer], back * (1 - a * a), 0)
        found = jnp.sum((words >> 31).astype(jnp.float32))
        return found, gradient[::-1]
