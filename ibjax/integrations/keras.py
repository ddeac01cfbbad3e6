"""Keras 3, on any backend: a callback that records the information plane of the model that is being trained.

Shapes: N patterns; ... further axes of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from ibjax._checks import choices, integer, integers
from ibjax.recorder.recorder import Recorder

_LARGEST = 2**31 - 1
_ACCURACIES = ("accuracy", "acc", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy")


class InformationPlane(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed here
    """Logs layers, kernels, loss and accuracy to a recorder: before training, and at the end of epochs::

        recorder = ibjax.Recorder(labels)
        model.fit(x, labels, epochs=100, callbacks=[InformationPlane(recorder, x)])
        recorder.trajectory().save("mine.npz")

    Activations are those of the model as it predicts (no dropout, moving averages of batch norms). Loss and accuracy
    are what `fit` tells: means over the batches of the epoch just completed as training, and, where there are
    validation data, over these as test; the log before training has none. Gradients cannot be seen from a callback.

    A second `fit` goes on with `initial_epoch=`, and what the recorder holds of later epochs is forgotten then; so it
    goes on after `keras.callbacks.BackupAndRestore`, too, if that comes before this one in the list.

    Args:
      recorder: made with the labels of `x`.
      x: the patterns (N, ...) that are measured, as `model.predict` takes them.
      layers: names of layers, in the order from the input on; None for those that the recorder names, or for all whose
        output has two axes or more but input layers.
      epochs: after how many completed epochs to log; None for all. The first log is always before training.
      batch_size: of the forward passes.

    Raises:
      ValueError, TypeError: an argument that is not allowed. From `fit`, before training: layers that are not there
        (tells which are), a model without a graph of layers, a layer that is used at several places or returns several
        tensors, an `initial_epoch` of 0 where the recorder holds more, or as `Recorder.log`.
    """

    def __init__(
        self,
        recorder: Recorder,
        x: Any,
        *,
        layers: Iterable[str] | None = None,
        epochs: Iterable[int] | None = None,
        batch_size: int = 1024,
    ) -> None:
        super().__init__()
        if not isinstance(recorder, Recorder):
            raise TypeError(f"recorder is of type {type(recorder).__name__}; allowed: an ibjax.Recorder")
        if isinstance(layers, str) or not isinstance(layers, Iterable | None):
            raise TypeError(f"layers = {layers!r}; allowed: a sequence of names, or None")
        self._recorder, self._x = recorder, x
        self._layers = None if layers is None else tuple(layers)
        self._epochs = None if epochs is None else frozenset(integers("epochs", epochs, 0, _LARGEST))
        self._batch_size = integer("batch_size", batch_size, 1, _LARGEST)
        self._names: tuple[str, ...] = ()
        self._probe: Any = None
        self._begun = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Finds the layers."""
        outputs = _outputs(self.model, self._layers if self._layers is not None else self._recorder.layer_names)
        self._names, self._probe = tuple(outputs), _probe(self.model, outputs)
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the model before training, or goes on from where it was left."""
        if self._begun:
            return
        self._begun = True
        last = self._recorder.epochs[-1] if self._recorder.epochs else -1
        if epoch == 0 < last:
            raise ValueError(
                f"initial_epoch = 0; allowed: fit(initial_epoch={last}, ...), the last epoch that the recorder holds, "
                "an earlier one to go on from there, or a new recorder"
            )
        self._recorder.rewind(epoch if epoch else -1)
        if not self._recorder.epochs:
            self._log(epoch, {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Logs the model if it is the turn of this epoch."""
        if self._epochs is None or epoch + 1 in self._epochs:
            self._log(epoch + 1, logs or {})

    def _log(self, epoch: int, logs: Mapping[str, Any]) -> None:
        model = self.model  # on JAX, this brings the state of training into the model's variables
        found = self._probe.predict(self._x, batch_size=self._batch_size, verbose=0)
        activations = {name: found[name] for name in self._names}  # Keras sorts them by name
        recorded = self._recorder.layer_names or tuple(activations)
        kernels = {name: getattr(model.get_layer(name), "kernel", None) for name in activations if name in recorded}
        weights = {name: keras.ops.convert_to_tensor(kernel) for name, kernel in kernels.items() if kernel is not None}
        self._recorder.log(
            epoch,
            activations,
            loss=_halves(logs, ("loss",)),
            accuracy=_halves(logs, _ACCURACIES),
            weights=weights or None,
        )


def _halves(logs: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, float] | None:
    """The first of the keys that is there, of the training and of the validation data; None where there is none."""
    found = {
        half: float(next(logs[prefix + key] for key in keys if prefix + key in logs))
        for half, prefix in (("train", ""), ("test", "val_"))
        if any(prefix + key in logs for key in keys)
    }
    return found or None


def _outputs(model: Any, wanted: tuple[str, ...] | None) -> dict[str, Any]:
    """The symbolic outputs of layers of a model, by name; of all with two axes or more where none are wanted.

    Raises:
      ValueError, TypeError: see `InformationPlane`.
    """
    if not getattr(model, "layers", ()) or not getattr(model, "inputs", ()):
        raise ValueError(
            f"model = {model.name!r}, of {type(model).__name__}, has no graph of layers; allowed: Functional or "
            "Sequential (of others, give the activations to Recorder.log)"
        )
    calls = _calls(model)
    there = {layer.name: calls[id(layer)] for layer in model.layers if id(layer) in calls}
    if wanted is None:
        wanted = tuple(name for name, found in there.items() if len(found[0].shape) > 1)
    names = choices("layers", wanted, tuple(there))
    if not names:
        raise ValueError("layers is empty; allowed: at least one, whose output has two axes or more")
    for name in names:
        if len(there[name]) > 1:
            raise ValueError(
                f"layer {name!r} returns {len(there[name])} tensors, in one call or in several; allowed: layers that "
                "return one (layers=... chooses)"
            )
    return {name: there[name][0] for name in names}


def _calls(model: Any) -> dict[int, list[Any]]:
    """What each layer of a model but the input layers returns, by its identity: all tensors of all its calls.

    Found from the outputs backwards: a layer's own `output` may be of another model that shares the layer, or, of a
    model within the model, of the graph within.
    """
    calls: dict[int, list[Any]] = {}
    seen = {id(tensor) for tensor in model.inputs}
    ahead = list(model.outputs)
    while ahead:
        tensor = ahead.pop()
        if id(tensor) not in seen:
            layer, call, _ = tensor._keras_history
            node = layer._inbound_nodes[call]
            seen.update(id(output) for output in node.output_tensors)
            calls.setdefault(id(layer), []).extend(node.output_tensors)
            ahead.extend(node.input_tensors)
    return calls


def _probe(model: Any, outputs: Mapping[str, Any]) -> Any:
    """A model of the same variables that returns the activations (N, ...) of layers by name."""
    inputs = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.Model(inputs, dict(outputs))
