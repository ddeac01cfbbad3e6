"""Modules of flax as pure functions of their parameters, their statistics and a key, in training and when measured.

What a module keeps beside its parameters, such as the running means of batch norm, are its statistics: training changes
them, no gradient does. What it draws, as dropout does, it draws from the key of the step.

Shapes: B patterns of a batch, C classes; ... the axes of one input pattern.
"""

from __future__ import annotations

import collections
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from ibjax.networks.capture import Captured
from ibjax.networks.contract import Functions
from ibjax.networks.protocol import Params, some_key

_ON = ("train", "training", "is_training")
_OFF = ("deterministic", "use_running_average")
"""Arguments of a module's call by which flax's own and its users' modules are told whether they train."""


def is_linen(network: Any) -> bool:
    """Whether it is a module of flax linen, which is not imported to find out."""
    linen = sys.modules.get("flax.linen")
    return linen is not None and isinstance(network, linen.Module)


def from_linen(module: Any, captured: Captured | None, sample: npt.NDArray[Any]) -> Functions:
    """A linen module: collections other than "params" are statistics; its arguments may say whether it trains.

    Args:
      module: it returns logits and activations; where `captured` is given, logits alone.
      captured: finds its layers.
      sample: patterns (B, ...), to be initialised with.

    Raises:
      TypeError: see `call_modes`.
    """
    measured, training = call_modes(module)

    def variables(key: Array) -> dict[str, Params]:
        found = module.init(key, jnp.asarray(sample), **measured)
        return {name: in_order(part) for name, part in found.items() if jax.tree.leaves(part)}

    collected = jax.eval_shape(variables, some_key())
    names = tuple(name for name in collected if name != "params")

    def init(key: Array) -> Params:
        return collections.OrderedDict(params=variables(key).get("params", {}))

    def statistics(key: Array) -> Params:
        found = variables(key)
        return {name: found[name] for name in names}

    def apply(weights: Any, inputs: Array) -> tuple[Array, list[Array]]:
        found = {**weights[0], **weights[1]} if names else weights
        if captured is not None:
            return captured.apply_linen(found, inputs, **measured)
        return module.apply(found, inputs, **measured)

    def in_training(params: Params, statistics: Params, inputs: Array, key: Array) -> tuple[Array, Params]:
        # Streams that have no key of their own are drawn from that of "params".
        keys = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        found, after = module.apply(
            {**params, **(statistics or {})}, inputs, **training, rngs=keys, mutable=list(names)
        )
        after = {name: in_order(after[name]) for name in names} if names else None
        return (found if captured is not None else found[0]), after

    if not names and not training:
        return Functions(init, apply)
    return Functions(init, apply, statistics if names else None, in_training)


def call_modes(module: Any) -> tuple[dict[str, bool], dict[str, bool]]:
    """The arguments of a module's call that say whether it trains: as it is measured, and in training.

    Raises:
      TypeError: its call needs another argument beside the patterns.
    """
    _, *arguments = inspect.signature(type(module).__call__).parameters.values()  # the first is the module itself
    arguments = [one for one in arguments if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)][1:]
    training = {one.name: one.name in _ON for one in arguments if one.name in _ON + _OFF}
    if unknown := [one.name for one in arguments if one.default is one.empty and one.name not in training]:
        raise TypeError(
            f"network = {type(module).__name__}, whose __call__ needs {', '.join(unknown)}; allowed: the patterns, and "
            f"of arguments without a default {', '.join(_ON + _OFF)}, which say whether it trains"
        )
    return {name: not on for name, on in training.items()}, training


def from_nnx(factory: Callable[[Any], Any], captured: Captured | None) -> Functions:
    """A callable `rngs -> nnx.Module`: variables that are no `nnx.Param` are statistics.

    Args:
      factory: the module returns logits and activations; where `captured` is given, logits alone.
      captured: finds its layers.

    Raises:
      TypeError: one nnx.Module in the place of what makes it, or see `call_modes`.
      ValueError: it makes no nnx.Module.
    """
    from flax import nnx  # here, not above: it takes a second, and most runs train the built-in network

    if isinstance(factory, nnx.Module):
        kind = type(factory).__name__
        raise TypeError(
            f"network = {kind}(...), one nnx.Module; allowed: a callable that makes one from the random numbers of a "
            f"seed, such as lambda rngs: {kind}(..., rngs=rngs)"
        )
    try:
        module = nnx.eval_shape(lambda: factory(nnx.Rngs(0)))
    except Exception as error:
        raise ValueError(f"network(rngs) makes no nnx.Module: {type(error).__name__}: {error}") from error
    if not isinstance(module, nnx.Module):
        raise ValueError(f"network(rngs) makes a {type(module).__name__}; allowed: an nnx.Module")
    return _Nnx(factory, captured, module).functions


class _Nnx:
    """The functions of a callable that makes nnx modules, of which one is given, with shapes for arrays.

    Attributes:
      functions: of the module.
    """

    def __init__(self, factory: Callable[[Any], Any], captured: Captured | None, module: Any) -> None:
        from flax import nnx  # here, not above: it takes a second, and most runs train the built-in network

        self._nnx, self._factory, self._captured = nnx, factory, captured
        self._parts = (nnx.Param, nnx.RngState, ...)
        module.train()
        self._graph_in_training = nnx.split(module, *self._parts)[0]
        module.eval()
        self._graph, _, self._random, kept = nnx.split(module, *self._parts)
        self._keeps = bool(jax.tree.leaves(kept))
        self._measured, self._training = call_modes(module)
        # Every trace is made with another key. A network that draws when it is measured gives traces that differ, which
        # `check_contract` refuses; the key of any other changes nothing.
        self._traces = itertools.count()
        other = self._keeps or bool(jax.tree.leaves(self._random)) or bool(self._training)
        self.functions = Functions(
            self.init,
            self.apply,
            self.statistics if self._keeps else None,
            self.in_training if other else None,
        )

    def init(self, key: Array) -> Params:
        """The parameters."""
        module = self._factory(self._nnx.Rngs(key))
        params = self._nnx.split(module, *self._parts)[1]
        # nnx sorts by name; the layers are told in the order in which the module made them.
        return collections.OrderedDict((name, params[name]) for name in vars(module) if name in params)

    def statistics(self, key: Array) -> Params:
        """What it keeps beside them."""
        return dict(self._nnx.split(self._factory(self._nnx.Rngs(key)), *self._parts)[3])

    def apply(self, weights: Any, inputs: Array) -> Any:
        """The module as it is measured."""
        params, kept = weights if self._keeps else (weights, {})
        trace = next(self._traces)

        def new_key(number: int, shape: tuple[int, ...]) -> Array:
            data = np.broadcast_to(np.array([trace, number], np.uint32), (*shape, 2))
            return jax.random.wrap_key_data(jax.device_put(data), impl="threefry2x32")

        with jax.ensure_compile_time_eval():  # a constant, told in a trace only where it is used
            random = self._random_state(new_key)
        return self._call(self._merge(self._graph, params, random, kept), inputs, self._measured)

    def in_training(self, params: Params, statistics: Params, inputs: Array, key: Array) -> tuple[Array, Params]:
        """The module in training."""

        def new_key(number: int, shape: tuple[int, ...]) -> Array:
            own = jax.random.fold_in(key, number)
            return jax.random.split(own, shape) if shape else own

        # Made anew inside of what takes the gradient: nnx lets no variable of an outer trace be written to.
        kept = jax.tree.map(lambda leaf: leaf, statistics or {})
        module = self._merge(self._graph_in_training, params, self._random_state(new_key), kept)
        logits, _ = self._call(module, inputs, self._training)
        self._nnx.pop(module, self._nnx.Intermediate)  # what it sows, only to be looked at
        return logits, dict(self._nnx.split(module, *self._parts)[3]) if self._keeps else None

    def _random_state(self, new_key: Callable[[int, tuple[int, ...]], Any]) -> Any:
        """The state of everything that draws, which has not drawn yet; `new_key` takes a number and a shape."""
        numbers = itertools.count()

        def fresh(leaf: Any) -> Any:
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return new_key(next(numbers), leaf.shape)
            return np.zeros(leaf.shape, leaf.dtype)  # how often it has drawn

        return jax.tree.map(fresh, self._random)

    def _merge(self, graph: Any, params: Params, random: Any, kept: Params) -> Any:
        return self._nnx.merge(graph, self._nnx.State(dict(params)), random, self._nnx.State(dict(kept)))

    def _call(self, module: Any, inputs: Array, mode: dict[str, bool]) -> Any:
        """Logits and activations, which `check_contract` looks at: nothing here takes an array for a pair."""
        return (module if self._captured is None else partial(self._captured.call_nnx, module))(inputs, **mode)


def in_order(params: Params) -> Params:
    """The same with every dictionary as an `OrderedDict`: jax sorts the keys of others, and with them the layers."""
    if not isinstance(params, Mapping):
        return params
    return collections.OrderedDict((name, in_order(part)) for name, part in params.items())
