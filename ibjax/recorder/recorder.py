"""`Recorder`: the information plane of a training loop of one's own.

Shapes: S seeds, E logged epochs, L layers, N patterns, C classes, U units of a layer.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ibjax import _checks, probability
from ibjax.analysis.bounds import check_bounds
from ibjax.recorder import assembly
from ibjax.recorder.arrays import as_array, as_layer, checked_names, conditional, halves, layers_of, numbers
from ibjax.recorder.assembly import Log
from ibjax.recorder.complaints import lost, warn_diverged, warn_outside
from ibjax.recorder.gradients import GradientSpread, by_layer, kernel_norms, stacked
from ibjax.recorder.measurement import LayerMeasurement, estimators_of
from ibjax.trajectory.reading import load
from ibjax.trajectory.trajectory import Trajectory

_LARGEST = 2**31 - 1


class Recorder:
    """Measures the layers of any network, trained by any loop in any framework, and makes a `Trajectory` of it.

    Give it the labels of the patterns it will see, then at any moment of the loop the activations of these patterns::

        recorder = ibjax.Recorder(labels, layer_names=("hidden_1", "hidden_2", "output"))
        for epoch in range(101):
            recorder.log(epoch, activations_of(network), loss={"train": loss})
            train(network)
        recorder.trajectory().save("mine.npz")

    The trajectory takes `save`, `ibjax.figures`, `ibjax.concatenate` and the commands `ibjax info`, `plot`, `animate`,
    `bound`, `report` and `merge`. What no `log` was given is absent; what some were given is NaN in the others.
    Activations, labels and gradients may be arrays of NumPy or JAX, or anything with `__dlpack__` or `__array__`
    (PyTorch, TensorFlow, CuPy; also of 16 bits), on any device.

    Args:
      labels: of the patterns: (N,) whole numbers or names of classes, or (N, C) one-hot or probabilities. Real labels
        with `label_cells`.
      p_y_given_x: in place of labels: (N,) = p(y=1|x), or (N, C).
      p_x: (N,) probability of each pattern, or None for uniform.
      inputs: (N, ...) the patterns themselves, so that equal ones count as one value of X; None takes each for a value
        of its own. The estimator `edge` needs them.
      label_cells: real labels are put into so many cells of equal population.
      estimators: as of `ibjax.Config`, also with options; the first gives `i_xt` and `i_ty`, further ones are stored as
        `i_xt_<name>`, `i_ty_<name>`.
      bins: cells of each unit of the histogram, 2 to 4096.
      layer_names: which layers to take of a dict, in the order from the input on, or the names of those of a list.
      bounded: True, or the names of the layers, whose activations keep within [-1, 1] (tanh, sigmoid, softmax): the
        histogram's cells divide that range. For others they divide the layer's own range at each log, which is stored.
      seed: number of the one network that is recorded.
      seeds: for an ensemble: how many networks, or their numbers; all arrays have a leading seed axis then.
      path: a file that is written whole at every log. If it is there, it must be of an equal recorder, and is
        continued: `epochs` tells what it holds, `rewind` goes back to the loop's own checkpoint.

    Raises:
      ValueError, TypeError: an argument that is not allowed; names it.
      OSError: `path` cannot be written. ibjax.TrajectoryError: it holds no trajectory.
    """

    def __init__(
        self,
        labels: Any = None,
        *,
        p_y_given_x: Any = None,
        p_x: Any = None,
        inputs: Any = None,
        label_cells: int | None = None,
        estimators: Any = ("histogram",),
        bins: int = 30,
        layer_names: Sequence[str] | None = None,
        bounded: bool | Sequence[str] = False,
        seed: int = 0,
        seeds: int | Iterable[int] | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._given = conditional(labels, p_y_given_x, label_cells)
        n = len(self._given)
        p_y_given = probability.checked_conditional(self._given, n)
        self._p_x = None if p_x is None else probability.checked_marginal(np.asarray(as_array("p_x", p_x)), n)
        inputs = assembly.rows(inputs, n)
        self._entropies = assembly.entropies(p_y_given, self._p_x, inputs)
        estimators = estimators_of(estimators, bins)
        self._names = None if layer_names is None else checked_names("layer_names", layer_names)
        self._bounded = bounded if isinstance(bounded, bool) else checked_names("bounded", bounded)
        self._seed_axis, self._seeds = seeds is not None, numbers(seed, seeds)
        self._measure = LayerMeasurement(estimators, p_y_given, self._p_x, self._seeds, inputs)
        self._gradients = GradientSpread(len(self._seeds), seed_axis=self._seed_axis)
        bounds = self._bounded if isinstance(self._bounded, bool) else sorted(self._bounded)
        self._identity = assembly.identity(
            self._given, self._p_x, inputs, estimators, bounded=bounds, seeds=list(self._seeds), **self._entropies
        )
        self._epochs: list[int] = []
        self._logs: list[Log] = []
        self._widths: dict[str, int] = {}
        self._told: set[str] = set()  # bounded layers of which it has been said that they are not
        self._path = None if path is None else Path(path)
        if self._path is not None:
            self._seen = assembly.checked_path(self._path)
            if self._seen is not None:
                self._continue(self._path)

    def _continue(self, path: Path) -> None:
        """Take over what a file holds."""
        trajectory = load(path)
        if self._names is not None and trajectory.layer_names != self._names:
            raise ValueError(
                f"path = {str(path)!r}: it holds the layers {', '.join(trajectory.layer_names)}; allowed: those of "
                f"layer_names, {', '.join(self._names)}"
            )
        try:
            self._logs = assembly.from_trajectory(trajectory, self._identity)
        except ValueError as error:
            raise ValueError(f"path = {str(path)!r}: {error}") from error
        self._epochs = trajectory.epochs.tolist()
        self._widths = dict(zip(trajectory.layer_names, trajectory.layer_widths, strict=True))

    def __repr__(self) -> str:
        layers = " ".join(self.layer_names) if self.layer_names else "not known yet"
        epochs = f" {self._epochs[0]}..{self._epochs[-1]}" if self._epochs else ""
        path = "" if self._path is None else f", path {str(self._path)!r}"
        return f"Recorder({len(self._epochs)} logged epochs{epochs}, layers {layers}{path})"

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs recorded so far."""
        return tuple(self._epochs)

    @property
    def layer_names(self) -> tuple[str, ...] | None:
        """The layers; None before the first log where they were not named."""
        return tuple(self._widths) or self._names

    def log(
        self,
        epoch: int,
        activations: Mapping[str, Any] | Sequence[Any],
        *,
        loss: Any = None,
        accuracy: Any = None,
        gradients: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
    ) -> None:
        """Measure the layers now.

        Args:
          epoch: completed epochs, more than at the log before; 0 is before any update.
          activations: a dict or a list of layers, (N, ...) each, (S, N, ...) with `seeds`; further axes become one.
          loss: of the training patterns, nats, a number or (S,); or {"train": ..., "test": ...}, either.
          accuracy: likewise, in 0..1.
          gradients: by layer, the minibatch gradients of its kernel since the log before, (M, ...) of M minibatches,
            (S, M, ...) with `seeds`; those given by `add_gradients` need not be given here. None and {} are the same.
          weights: by layer, its kernel, (...) or (S, ...) with `seeds`, whose norm is stored.

        Raises:
          ValueError: an epoch that does not follow; another number of patterns, layers or units than before; layers
            that are not there. Nothing is recorded then.
          TypeError: what is no array of numbers.
          OSError: `path` cannot be written, or has been changed by somebody else; the same log can be tried again.

        Warns:
          RuntimeWarning: activations or a loss that are not finite; the network counts as diverged. Once for each
            layer: it is `bounded`, and has activations outside [-1, 1].
        """
        epoch = self._check_epoch(epoch)
        layers = layers_of(activations, self._names)
        arrays = {
            name: as_layer(name, value, len(self._seeds), len(self._given), seed_axis=self._seed_axis)
            for name, value in layers.items()
        }
        self._check_layers(arrays)
        record = self._given_values(arrays, loss, accuracy, gradients, weights)
        size = len(self._seeds)
        for number, (name, array) in enumerate(arrays.items()):
            if self._is_bounded(name) and name not in self._told and warn_outside(name, array):
                self._told.add(name)
            for key, value in self._measure(array, (epoch, number), bounded=self._is_bounded(name)).items():
                record.setdefault(key, np.full((size, len(arrays)), np.nan, value.dtype))[:, number] = value
        record["diverged"] = lost(record)
        before = np.logical_or.reduce([log["diverged"] for log in self._logs] or [np.zeros(size, bool)])
        warn_diverged(epoch, tuple(arrays), record, before)
        self._widths = {name: array.shape[2] for name, array in arrays.items()}
        self._epochs.append(epoch)
        self._logs.append(record)
        if self._path is not None:
            try:
                self._seen = assembly.write(self._trajectory(), self._path, self._seen)
            except BaseException:  # the same log can be tried again
                del self._epochs[-1], self._logs[-1]
                raise
        self._gradients.clear()

    def _given_values(self, arrays: Mapping[str, Any], loss: Any, accuracy: Any, gradients: Any, weights: Any) -> Log:
        """What `log` was given beside the activations."""
        size, record = len(self._seeds), Log()
        together = by_layer("gradients", gradients)
        spread = stacked(together, size, seed_axis=self._seed_axis) if together else self._gradients
        for field, value in (("loss", loss), ("accuracy", accuracy)):
            if value is not None:
                record |= halves(field, value, size)
        if spread.seen:
            try:
                record["gradient_mean"], record["gradient_std"] = spread.norms("gradients", tuple(arrays))
            except ValueError:
                self._gradients.clear()  # of layers that are not there: others would be refused beside them
                raise
        if kernels := by_layer("weights", weights):
            record["weight_norm"] = kernel_norms(kernels, tuple(arrays), size, seed_axis=self._seed_axis)
        return record

    def add_gradients(self, gradients: Mapping[str, Any]) -> None:
        """The gradients of one minibatch, by layer, (...) each, or (S, ...) with `seeds`, for the next `log`.

        Its `gradient_mean` and `gradient_std` are those of the minibatches since the log before.

        Raises:
          ValueError: other layers or shapes than at the minibatch before, or layers that are not there.
        """
        if isinstance(gradients, Mapping) and (known := self.layer_names) is not None:
            for name in gradients:
                if name not in known:
                    raise ValueError(_checks.unknown("gradients", name, known))
        self._gradients.add(gradients)

    def rewind(self, epoch: int) -> None:
        """Forget what was logged after an epoch, -1 for all: for a loop that goes on from a checkpoint of its own."""
        epoch = _checks.integer("epoch", epoch, -1, _LARGEST)
        kept = sum(logged <= epoch for logged in self._epochs)
        del self._epochs[kept:], self._logs[kept:]
        self._gradients.clear()
        if not kept:
            self._widths = {}

    def trajectory(self) -> Trajectory:
        """What has been recorded.

        Raises:
          ValueError: nothing has.

        Warns:
          RuntimeWarning: values that break a bound of information theory.
        """
        made = self._trajectory()
        first, *further = self._identity["estimators"]
        for name in (None, *further):
            if text := check_bounds(made, estimator=name).complaint(name or first):
                warnings.warn(text, RuntimeWarning, stacklevel=2)
        return made

    def _trajectory(self) -> Trajectory:
        if not self._logs:
            raise ValueError("nothing has been recorded; allowed: after the first log")
        return assembly.to_trajectory(
            self._identity,
            seeds=self._seeds,
            epochs=self._epochs,
            widths=self._widths,
            logs=self._logs,
            data={"p_y_given_x": self._given} | ({} if self._p_x is None else {"p_x": self._p_x}),
            entropies=self._entropies,
        )

    def _check_epoch(self, epoch: Any) -> int:
        last = self._epochs[-1] if self._epochs else -1
        epoch = _checks.integer("epoch", epoch, 0, _LARGEST)
        if epoch <= last:
            raise ValueError(
                f"epoch = {epoch}; allowed: more than {last}, the last recorded (rewind(epoch) forgets those after it)"
            )
        return epoch

    def _check_layers(self, arrays: Mapping[str, Any]) -> None:
        """Refuses layers or widths other than before, and at the first log what no estimator can measure."""
        if not self._widths:
            for name in self._bounded if isinstance(self._bounded, tuple) else ():
                if name not in arrays:
                    raise ValueError(_checks.unknown("bounded", name, tuple(arrays)))
            for name, array in arrays.items():
                self._measure.check(name, array.shape[2], bounded=self._is_bounded(name))
            return
        if tuple(arrays) != tuple(self._widths):
            raise ValueError(
                f"activations are of the layers {', '.join(arrays)}; allowed: {', '.join(self._widths)}, as before"
            )
        for name, array in arrays.items():
            if array.shape[2] != self._widths[name]:
                raise ValueError(f"layer {name!r} has {array.shape[2]} units; allowed: {self._widths[name]}, as before")

    def _is_bounded(self, name: str) -> bool:
        return self._bounded if isinstance(self._bounded, bool) else name in self._bounded
