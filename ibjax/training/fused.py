"""A GPU's way to train the built-in network: one launch for many epochs, one block of threads a seed.

Step by step, a GPU spends its time on launching kernels: a minibatch of a 12-10-7-5-4-3-2 network is a few microseconds
of arithmetic in tens of kernels. In `kernel/fused.cu` the weights and the optimizer's state of a seed stay on the chip
for all the minibatches of many epochs, whose order is shuffled there too, and the seeds run beside each other, one on
each multiprocessor. The results are those of `Trainer.epoch` up to the order of float32 sums, and repeat to the bit.

Shapes: K seeds, P parameters, n patterns for training (the most of any seed), B patterns of a batch, E epochs of a
launch at most.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ibjax.networks.perceptron import Perceptron
from ibjax.training import gradients
from ibjax.training.gradients import GradientMoments
from ibjax.training.loss import cross_entropy
from ibjax.training.ptx import Kernel, fitting
from ibjax.training.rules.base import HyperParameters
from ibjax.training.rules.descent import GradientDescent
from ibjax.training.shuffle import round_keys
from ibjax.training.trainer import NOISE_STREAM, Sample, State, Trainer, epoch_key

EPOCHS_PER_LAUNCH = 50
WIDEST = 128
_ACTIVATIONS = ("tanh", "relu")
_THREADS = 256  # of a block


class Launch(Protocol):
    """Epochs of every seed of a block: what `train` of `kernel/fused.cu` computes."""

    def __call__(self, *arguments: Array) -> tuple[Array, Array, Array]:
        """New parameters (K, P), optimizer state and moments of the last epoch's gradients (K, 2, P).

        Args:
          *arguments: control (6,), packed (K, n), keys (K, E, rounds, 4), counts (K, 2), rates (K, 4), parameters (K,
            P), optimizer state (K, 2, P); see `Arrays` there.
        """


def supports(network: Any, trainer: Trainer, *, noise: bool) -> bool:
    """Whether a network can be trained here: the built-in one, of tanh or ReLU units, narrow, on packed inputs."""
    rule = trainer.make_rule(HyperParameters())
    return (
        isinstance(network, Perceptron)
        and network.activation in _ACTIVATIONS
        and network.output in ("sigmoid", "softmax")
        and trainer.loss is cross_entropy
        and network.dtype == "float32"
        and max(network.widths) <= WIDEST
        and isinstance(rule, GradientDescent)
        and rule.elementwise
        and 0 < trainer.bits < 31 - (network.widths[-1] - 1).bit_length()
        # The other way to draw random numbers from a key is not in the kernel.
        and (not noise or bool(jax.config.jax_threefry_partitionable))  # type: ignore[attr-defined] # made at run time
    )


def launch_on(device: jax.Device, network: Perceptron, *, adam: bool, noise: bool) -> Launch:
    """What trains a network on a device.

    Raises:
      NoKernelError: nothing does.
    """
    capability = getattr(device, "compute_capability", f"of a {device.platform}")
    return gpu_launch(fitting(network, str(capability), adam=adam, noise=noise))


def gpu_launch(kernel: Kernel) -> Launch:
    """A kernel on a GPU: its text is a part of the compiled program, and the driver translates it."""

    def launch(*arguments: Array) -> tuple[Array, Array, Array]:
        parameters, state = arguments[-2:]
        shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (parameters, state, state)]
        size = {"grid_y": 1, "grid_z": 1, "block_x": _THREADS, "block_y": 1, "block_z": 1}
        return tuple(  # type: ignore[return-value] # three, as many as there are shapes
            jax.ffi.ffi_call("__gpu$xla.gpu.ptx", shapes)(
                *arguments,
                name="train",
                kernel_type="ptx",
                kernel_data=kernel.text,
                grid_x=np.int32(len(parameters)),
                shared_mem_bytes=np.int32(kernel.memory_bytes),
                output_indices=tuple(np.int32(len(arguments) + i) for i in range(len(shapes))),
                **{name: np.int32(value) for name, value in size.items()},
            )
        )

    return launch


class FusedTrainer:
    """Trains a block of seeds; the counterpart of `jax.vmap(trainer.epoch)`.

    Args:
      trainer: how every network trains; `supports` has been asked.
      learning_rate: of seeds that have none of their own.
      momentum: of gradient descent.
      launch: what trains.
    """

    def __init__(self, trainer: Trainer, *, learning_rate: float, momentum: float = 0.0, launch: Launch) -> None:
        self._trainer, self._learning_rate, self._momentum, self._launch = trainer, learning_rate, momentum, launch

    def epochs(
        self, sample: Sample, state: State, first: Array, last: Array, learn: Array
    ) -> tuple[State, GradientMoments]:
        """Epochs first ... last - 1 of a block; arguments as for `Trainer.epoch`, with a leading axis K."""

        def some(index: Array, carry: tuple[State, GradientMoments]) -> tuple[State, GradientMoments]:
            begin = first + index * EPOCHS_PER_LAUNCH
            return self._some_epochs(sample, carry[0], begin, jnp.minimum(last - begin, EPOCHS_PER_LAUNCH), learn)

        none = jax.vmap(gradients.begin)(state.params)
        return lax.fori_loop(0, -(-(last - first) // EPOCHS_PER_LAUNCH), some, (state, none))

    def _some_epochs(
        self, sample: Sample, state: State, first: Array, count: Array, learn: Array
    ) -> tuple[State, GradientMoments]:
        """Epochs first ... first + count - 1, at most `EPOCHS_PER_LAUNCH`."""
        trainer, (optimizer, structure) = self._trainer, jax.tree.flatten(state.rule)
        k = len(state.params)
        n = _for_each(sample.hyper.n_train, trainer.n_train, k, jnp.int32)
        # What the optimizers of a configuration keep: Adam its count of steps and two moments, momentum its trace.
        counted, traces = optimizer[:-2], optimizer[-2:]
        seen = counted[0] if counted else jnp.zeros(k, jnp.int32)
        kept = [*traces, *[jnp.zeros_like(state.params)] * (2 - len(traces))]
        settings = (count, learn, trainer.shuffle, trainer.batch_size, trainer.n_train, EPOCHS_PER_LAUNCH)
        params, new, moments = self._launch(
            jnp.stack([jnp.asarray(value, jnp.int32) for value in settings]),
            sample.packed,
            self._keys(sample, first),
            jnp.stack([n, seen], axis=1),
            jnp.stack(
                [
                    _for_each(sample.hyper.learning_rate, self._learning_rate, k, jnp.float32),
                    _for_each(sample.hyper.weight_decay, 0, k, jnp.float32),
                    _for_each(sample.hyper.noise_std, 0, k, jnp.float32),
                    jnp.full(k, self._momentum, jnp.float32),
                ],
                axis=1,
            ),
            state.params,
            jnp.stack(kept, axis=1),
        )
        steps = -(-n // trainer.batch_size)
        leaves = [*(old + steps * count * learn for old in counted), *(new[:, i] for i in range(len(traces)))]
        seen_gradients = GradientMoments(steps.astype(moments.dtype), moments[:, 0], moments[:, 1])
        return State(params, jax.tree.unflatten(structure, leaves)), seen_gradients

    def error(self, sample: Sample, state: State) -> Array:
        """How far the kernel is from JAX, (): the largest difference between gradients of the mean loss of all training
        patterns, without noise, relative to the largest entry. A test of the device at hand."""
        n, model = self._trainer.n_train, self._trainer.model
        whole = dataclasses.replace(self._trainer, batch_size=n, shuffle=True)
        quiet = sample._replace(hyper=sample.hyper._replace(noise_std=None))
        once = FusedTrainer(whole, learning_rate=0, launch=self._launch)
        _, moments = once._some_epochs(quiet, state, jnp.int32(0), jnp.int32(1), jnp.bool_(False))

        def loss(params: Array, words: Array, count: Array) -> Array:
            bits = (words >> jnp.arange(self._trainer.bits, dtype=jnp.uint32)[:, None]) & 1
            logits, _ = model.forward(model.unravel(params), bits.astype(params.dtype))
            losses = cross_entropy(logits, (words >> self._trainer.bits).astype(jnp.int32))
            return jnp.sum(jnp.where(jnp.arange(n) < count, losses, 0)) / count

        counts = _for_each(sample.hyper.n_train, n, len(state.params), jnp.int32)
        expected = jax.vmap(jax.grad(loss))(state.params, sample.packed, counts)
        return jnp.max(jnp.abs(moments.mean - expected)) / jnp.max(jnp.abs(expected))

    def _keys(self, sample: Sample, first: Array) -> Array:
        """Keys of a launch's shuffles, (K, E, rounds, 4); the last numbers of two rounds are the key of the noise."""

        def of_epoch(order: Array, n: Array | None, number: Array) -> Array:
            keys = round_keys(jax.random.fold_in(order, number), self._trainer.n_train if n is None else n)
            noise = jax.random.key_data(epoch_key(order, NOISE_STREAM, number))
            return jnp.concatenate([keys, jnp.pad(noise, (0, len(keys) - len(noise)))[:, None]], axis=1)

        of_seed = jax.vmap(of_epoch, in_axes=(None, None, 0))
        numbers = first + jnp.arange(EPOCHS_PER_LAUNCH)
        return jax.vmap(of_seed, in_axes=(0, 0, None))(sample.order, sample.hyper.n_train, numbers)


def _for_each(values: Array | None, value: float, k: int, dtype: Any) -> Array:
    """Values of each seed, (K,), or one value for all."""
    return jnp.full(k, value, dtype) if values is None else values.astype(dtype)
