"""PyTorch: what the layers of a module return, their kernels and gradients, for `ibjax.Recorder`.

Shapes: N patterns of all passes together; ... further axes.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ibjax._checks import distinct, unknown

Layers = Iterable[str] | Mapping[str, str] | None
"""Names as of `module.named_modules()`, or for each name that is to be recorded such a name; None for all leaves."""


class Passes(Mapping[str, Any]):
    """What layers returned, by name: tensors (N, ...), each layer's passes one after the other.

    Layers come in the order they were asked for; where all were, in the order in which they were first called, without
    those that were never called or return no tensor.
    """

    def __init__(self, names: Iterable[str], *, as_called: bool) -> None:
        self._parts: dict[str, list[Any]] = {name: [] for name in names}
        self._calls = dict.fromkeys(self._parts, 0)
        self._as_called = as_called
        self._passes = 0
        self._others: dict[str, str] = {}  # layers that return no tensor, and what they do return
        self._told = False

    def count(self, *_: object) -> None:
        """A hook for the module as a whole."""
        self._passes += 1

    def keep(self, name: str, _module: object, _inputs: object, output: Any) -> None:
        """A hook for a layer: keeps a copy, as what follows may change the tensor in place."""
        if self._as_called and not isinstance(output, torch.Tensor):
            self._others[name] = type(output).__name__
            return
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"layer {name!r} returns a {type(output).__name__}; allowed: a tensor (layers=... chooses)")
        if not output.ndim:
            raise ValueError(f"layer {name!r} returns a tensor without axes; allowed: (patterns, ...)")
        if self._as_called and not self._calls[name]:
            self._parts[name] = self._parts.pop(name)  # the next in order; those never called stay before it
        self._calls[name] += 1
        self._parts[name].append(output.detach().clone())

    def __iter__(self) -> Iterator[str]:
        left_out = self._left_out()
        if left_out and not self._told:
            self._told = True
            words = ", ".join(f"{name!r} ({why})" for name, why in left_out.items())
            warnings.warn(f"left out are the layers {words}; allowed: layers=... chooses", RuntimeWarning, stacklevel=2)
        return iter([name for name in self._parts if name not in left_out])

    def __len__(self) -> int:
        return len(self._parts) - len(self._left_out())

    def _left_out(self) -> dict[str, str]:
        """Where all layers were asked for, those that a pass left without a tensor, and why; before any pass none."""
        if not self._as_called or not (self._passes or any(self._calls.values())):
            return {}
        never = {name: "never called" for name, calls in self._calls.items() if not calls}
        return never | {name: f"returns a {kind}" for name, kind in self._others.items()}

    def __getitem__(self, name: str) -> Any:
        if name not in self._parts:
            raise KeyError(unknown("layer", name, tuple(self._parts)))
        if name in self._others:
            raise ValueError(f"layer {name!r} returns a {self._others[name]}; allowed: layers that return a tensor")
        passes = self._passes or max(self._calls.values())
        if not passes:
            raise ValueError("no layer has been called; allowed: a forward pass within the block, then its activations")
        if self._calls[name] != passes:
            raise ValueError(
                f"layer {name!r} was called {self._calls[name]} times in {passes} forward passes; allowed: once in "
                "each (layers=... chooses; what is used at several places must be several modules)"
            )
        parts = self._parts[name]
        if len({part.shape[1:] for part in parts}) > 1:
            raise ValueError(
                f"layer {name!r} returned {', '.join(str(tuple(part.shape)) for part in parts)}; allowed: the same "
                "axes after the first in each pass"
            )
        if len(parts) > 1:
            parts[:] = [torch.cat(parts)]
        return parts[0]


@contextmanager
def watch(module: torch.nn.Module, layers: Layers = None) -> Iterator[Mapping[str, Any]]:
    """Within the block, every forward pass leaves a copy of what each layer returns::

        with torch.no_grad(), watch(network, ("act1", "act2")) as activations:
            network(x)
        recorder.log(epoch, activations)

    Only what a submodule returns can be seen: for activations after `torch.tanh` in `forward`, make it a submodule,
    `nn.Tanh()`, one for each place. The hooks are gone when the block ends, however it ends; the activations stay.
    A module compiled by `torch.compile` calls no hooks that were not there when it was compiled: watch the one it was
    made of.

    Args:
      module: the network, on any device, in any mode and of any precision.
      layers: names as of `module.named_modules()`, in the order from the input on; or a mapping with such a name for
        each name that is to be recorded; None for all submodules that have none themselves, but for those that are
        never called or return no tensor.

    Yields:
      A mapping for `Recorder.log`: detached tensors (N, ...) on the module's device, by layer. Passes with parts of the
      patterns (minibatches) follow each other along the first axis.

    Raises:
      ValueError: names that are not there; tells which are. From the mapping: a layer that was not called once in each
        pass. From the pass: a layer returns a tensor without axes.
      TypeError: no module, no names. From the pass: a layer that is named returns no tensor.

    Warns:
      RuntimeWarning: from the mapping, once: which layers are left out where none are named.
    """
    chosen = _chosen(module, layers)
    found = Passes(chosen, as_called=layers is None)
    hooks = [module.register_forward_hook(found.count)]
    try:
        for name, layer in chosen.items():
            hooks.append(layer.register_forward_hook(functools.partial(found.keep, name)))
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def kernels(module: torch.nn.Module, layers: Layers = None) -> dict[str, Any]:
    """The kernels of layers, for `Recorder.log(weights=...)`: detached, not copied.

    The kernel of a layer is its `weight` of two axes or more, or the one there is within it. Layers without any
    (activations, norms) are left out.

    Args:
      module: the network.
      layers: as of `watch`. Where the activation is a submodule of its own, a mapping gives it the kernel before it:
        `{"act1": "fc1"}`.

    Raises:
      ValueError: names that are not there, or a layer with several kernels within it; tells which.
      TypeError: no module, no names.
    """
    return {name: weight.detach() for name, weight in _weights(module, layers)}


def gradients(module: torch.nn.Module, layers: Layers = None) -> dict[str, Any]:
    """The gradients of layers' kernels, for `Recorder.add_gradients`, after `backward()`: detached, not copied.

    Args:
      module: the network.
      layers: as of `kernels`; a layer whose kernel has no gradient is left out.

    Raises:
      ValueError, TypeError: as `kernels`.
    """
    return {
        name: weight.grad.detach()
        for name, weight in _weights(module, layers)
        if weight.is_leaf and weight.grad is not None
    }


def _chosen(module: Any, layers: Layers) -> dict[str, Any]:
    """Submodules by the names that are to be recorded."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module is of type {type(module).__name__}; allowed: a torch.nn.Module")
    there = dict(module.named_modules())
    if layers is None:
        wanted = {name: name for name, layer in there.items() if name and not list(layer.children())}
        if not wanted:
            raise ValueError(f"module = {type(module).__name__}, which has no submodules; allowed: one that has some")
    elif isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(f"layers = {layers!r}; allowed: a sequence of names, or a mapping of names to names")
    elif isinstance(layers, Mapping):
        wanted = dict(layers)
    else:
        wanted = {name: name for name in distinct("layers", tuple(layers))}
    if not wanted or not all(isinstance(name, str) and name for name in wanted):
        raise ValueError(f"layers = {tuple(wanted)!r}; allowed: at least one name, none empty")
    for name in wanted.values():
        if name not in there:
            raise ValueError(unknown("layers", name, tuple(name for name in there if name)))
    return {name: there[place] for name, place in wanted.items()}


def _weights(module: Any, layers: Layers) -> Iterator[tuple[str, Any]]:
    """The kernel of each layer that has one."""
    for name, layer in _chosen(module, layers).items():
        if _is_kernel(own := getattr(layer, "weight", None)):
            yield name, own
            continue
        within = {
            place: part.weight for place, part in layer.named_modules() if _is_kernel(getattr(part, "weight", None))
        }
        if len(within) > 1:
            raise ValueError(
                f"layer {name!r} has several kernels, {', '.join(within)}; allowed: layers with one "
                "(a mapping chooses: {'" + f"{name}': '...'" + "})"
            )
        for weight in within.values():
            yield name, weight


def _is_kernel(weight: Any) -> bool:
    return isinstance(weight, torch.Tensor) and weight.ndim > 1
