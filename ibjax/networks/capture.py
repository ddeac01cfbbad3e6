"""Modules of flax that return logits only: their layers are found by name inside them.

Shapes: B patterns of a batch, C classes; ... the axes of one layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax import Array

from ibjax._checks import distinct, unknown
from ibjax.networks.protocol import Params

_OUTPUT, _CALL = "output", "__call__"
Layers = Sequence[str] | Callable[[str], bool]


def capture(network: Any, layers: Layers) -> Captured:
    """A network for `ibjax.run(network=...)` from a flax module that returns logits and nothing else.

    Layers are the outputs of the module's parts, by the names that flax gives these, and what the module sows::

        class Net(flax.linen.Module):
            @flax.linen.compact
            def __call__(self, x):
                x = flax.linen.tanh(flax.linen.Dense(10, name="first")(x))
                self.sow("intermediates", "after_tanh", x)
                return flax.linen.Dense(2)(x)

        ibjax.run(network=ibjax.capture(Net(), ["first", "after_tanh"]))

    Here "first" is what Dense returns, before the tanh, which is a function and no part. Parts of parts are joined by
    "/" ("block/Dense_0"). After the layers comes "output", the probabilities of the classes (or the numbers
    themselves, where the loss compares these with the data set's targets).

    Args:
      network: a flax linen module, or a callable `rngs -> nnx.Module`.
      layers: names, in the order from the input on, or a function of a name that says whether to take it; then the
        order is that in which flax tells them, by execution in linen, by name in nnx.

    Returns:
      What `ibjax.run` takes in the place of the module.

    Raises:
      TypeError: layers that are neither.
      ValueError: layers named twice or "output". Names that are not there are refused, with those that are, when the
        network is first used; so are a part that is called twice and an output that is no array.
    """
    if not callable(layers):
        if isinstance(layers, str) or not isinstance(layers, Iterable):
            raise TypeError(f"layers = {layers!r}; allowed: a sequence of names, or a function of a name")
        layers = distinct("layers", tuple(layers))
        if not layers or not all(isinstance(name, str) for name in layers) or _OUTPUT in layers:
            raise ValueError(f"layers = {layers!r}; allowed: at least one name, none of them {_OUTPUT!r}")
    return Captured(network, layers)


@dataclasses.dataclass(frozen=True, eq=False)
class Captured:
    """What `capture` returns.

    Attributes:
      network: the module or what makes it.
      layers: as given.
      numbers: the module gives numbers, which are the output as they are, in place of logits.
      found: names of the layers, once the network has been traced.
    """

    network: Any
    layers: Layers
    numbers: bool = False
    found: list[str] = dataclasses.field(default_factory=list)

    def apply_linen(self, variables: Params, inputs: Array, **options: bool) -> tuple[Array, list[Array]]:
        """Logits and activations of a linen module with these variables; `options` are arguments of its call."""
        logits, state = self.network.apply(
            variables, inputs, **options, capture_intermediates=True, mutable=["intermediates"]
        )
        return self._outputs(logits, {"/".join(path): value for path, value in _leaves(state["intermediates"])})

    def call_nnx(self, module: Any, inputs: Array, **options: bool) -> tuple[Array, list[Array]]:
        """Logits and activations of an nnx module; `options` are arguments of its call."""
        from flax import nnx  # here, not above: it takes a second, and most runs train the built-in network

        logits, state = nnx.capture(module, nnx.Intermediate, method_outputs=nnx.Intermediate)(inputs, **options)
        parts = {"/".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(state)}
        return self._outputs(logits, parts)

    def _outputs(self, logits: Any, parts: Mapping[str, tuple[Any, ...]]) -> tuple[Array, list[Array]]:
        """The chosen ones of what all parts returned, a tuple with one entry a call."""
        if not isinstance(logits, jax.Array):
            raise TypeError(f"it returns a {type(logits).__name__}; allowed with capture: an array of logits alone")
        calls = {name.removesuffix(_CALL).rstrip("/"): outputs for name, outputs in parts.items()}
        calls.pop("", None)  # the module itself, whose output are the logits
        names = [name for name in calls if self.layers(name)] if callable(self.layers) else list(self.layers)
        if not names:
            raise ValueError(f"layers takes none; allowed: some of {', '.join(calls)}")
        for name in names:
            if name not in calls:
                raise ValueError(unknown("layers", name, tuple(calls)))
            faults = [f"is called {len(calls[name])} times"] if len(calls[name]) != 1 else []
            if not isinstance(output := calls[name][0], jax.Array):
                faults.append(f"returns a {type(output).__name__}")
            if faults:
                raise ValueError(
                    f"layers = {name!r}, which {' and '.join(faults)}; allowed: parts called once that return an array"
                )
        self.found[:] = [*names, _OUTPUT]
        if self.numbers:
            outputs = logits
        else:
            outputs = jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits, axis=-1)
        return logits, [*(calls[name][0] for name in names), outputs]


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves of nested dictionaries with their paths, in the order of the dictionaries."""
    for name, part in tree.items():
        if isinstance(part, Mapping):
            yield from _leaves(part, (*path, name))
        else:
            yield (*path, name), part
