"""`Trajectory`: what a run leaves behind, and its npz file.

Shapes: S seeds, E logged epochs, L layers (hidden layers in order, then the output), N input patterns.
Information is in bits, cross-entropies in nats, time in completed epochs.
"""

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ibjax.config import PER_SEED
from ibjax.npz import write_arrays
from ibjax.trajectory import estimators, schema
from ibjax.trajectory.convert import differences, to_dataframe, to_xarray
from ibjax.trajectory.schema import AXES, TrajectoryError, extra_axes
from ibjax.trajectory.summary import as_html

if TYPE_CHECKING:
    import pandas
    import xarray

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ABSENT: Any = None  # of type Any: those who use the arrays need not check, `Trajectory.require` says what is missing


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectory:
    """An ensemble's way through the information plane.

    Checked when made. Arrays are read-only views, floats stay float32 or float64 as given. Where a network diverged
    its later entries are NaN. Losses, accuracies, gradients, weight norms and train masks are None where the training
    loop did not give them.

    Attributes:
      config: the whole configuration as read from JSON: the fields of `Config` under "config", and "versions",
        "device_kind", "command"; "estimators" says of each what its values are ("exact", "upper bound", "lower bound"
        or "estimate") and its options; "measured", by which `ibjax.measure` replaced `i_xt` and `i_ty`.
      seeds: (S,) which seeds, all different.
      epochs: (E,) completed epochs, increasing; 0 is before any update.
      layer_names: L names.
      layer_widths: L numbers of units.
      i_xt: (S, E, L) I(X;T), bits.
      i_ty: (S, E, L) I(T;Y), bits.
      train_loss, test_loss: (S, E) cross-entropy, nats; or mean squared error, where `config` says so.
      train_accuracy, test_accuracy: (S, E) in 0..1.
      gradient_mean: (S, E, L) norm of the mean of the layer's minibatch gradients over the epoch completed.
      gradient_std: (S, E, L) norm of their standard deviation.
      weight_norm: (S, E, L) Frobenius norm of the kernel.
      train_mask: (S, N) bool, which patterns each network trained on.
      diverged: (S,) bool, the network produced a loss that is not finite; of a recorder's, or activations.
      i_xy, h_x, h_y: I(X;Y), H(X), H(Y) of the data set, bits.
      extras: further arrays by key: `weights_<layer>`, `biases_<layer>` (S, E, ...), or of a user-supplied network
        `params` (S, E, P); `i_xt_<estimator>`, `i_ty_<estimator>` (S, E, L) bits; standard errors of Monte-Carlo
        estimates, `i_xt_error`, `i_ty_error`, `i_xt_error_<estimator>`, `i_ty_error_<estimator>` (S, E, L) bits;
        `range_low`, `range_high` (S, E, L) ends of the histogram's range; `singleton_share` (S, E, L) share of the
        cells that hold one pattern; `train_labels` (S, N); `h_x_measured`, `i_xy_measured` (S,) bits, H(X) and I(X;Y)
        of the patterns measured on where these are not all; the data set's `inputs` (N, d), `p_y_given_x` (N,) or
        (N, C), `p_x` (N,).

    Raises:
      TrajectoryError: an entry has another type, dtype, shape or range; names it and what is allowed.
    """

    config: dict[str, Any]
    seeds: IntArray
    epochs: IntArray
    layer_names: tuple[str, ...]
    layer_widths: tuple[int, ...]
    i_xt: FloatArray
    i_ty: FloatArray
    train_loss: FloatArray = _ABSENT
    test_loss: FloatArray = _ABSENT
    train_accuracy: FloatArray = _ABSENT
    test_accuracy: FloatArray = _ABSENT
    gradient_mean: FloatArray = _ABSENT
    gradient_std: FloatArray = _ABSENT
    weight_norm: FloatArray = _ABSENT
    train_mask: BoolArray = _ABSENT
    diverged: BoolArray
    i_xy: float
    h_x: float
    h_y: float
    extras: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)  # the class is frozen
        put("config", schema.check_config(self.config))
        put("seeds", schema.check_integers("seeds", self.seeds))
        if len(set(self.seeds.tolist())) != self.seeds.size:
            raise TrajectoryError(f"seeds holds one twice: {self.seeds.tolist()}")
        put("epochs", schema.check_integers("epochs", self.epochs))
        if self.epochs[0] < 0 or np.any(np.diff(self.epochs) <= 0):
            raise TrajectoryError("epochs must be at least 0 and increase from entry to entry")
        names = schema.check_names("layer_names", self.layer_names)
        put("layer_names", names)
        put("layer_widths", tuple(schema.check_integers("layer_widths", self.layer_widths).tolist()))
        if len(self.layer_widths) != len(names) or min(self.layer_widths) < 1:
            raise TrajectoryError(f"layer_widths is {self.layer_widths}; allowed: one, at least 1, for each of {names}")
        sizes = {"S": self.seeds.size, "E": self.epochs.size, "L": len(names)}
        for key in self._measured():
            kinds = "b" if key in schema.FLAGS else "f"
            put(key, schema.check_array(key, getattr(self, key), AXES[key], sizes, kinds=kinds))
        for key in schema.SCALARS:
            put(key, schema.check_scalar(key, getattr(self, key)))
        extras = {
            key: schema.check_array(key, value, extra_axes(key, names), sizes, kinds="biuf")
            for key, value in self.extras.items()
        }
        put("extras", extras)

    def __repr__(self) -> str:
        lost = int(self.diverged.sum())
        return (
            f"Trajectory({self.seeds.size} seed{'s' * (self.seeds.size != 1)}"
            f"{f' ({lost} diverged)' if lost else ''}, {self.epochs.size} logged epochs "
            f"{self.epochs[0]}..{self.epochs[-1]}, layers {' '.join(self.layer_names)})"
        )

    def _repr_html_(self) -> str:
        return as_html(self)

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the arrays that the training loop did not give."""
        return tuple(key for key in schema.OPTIONAL if getattr(self, key) is None)

    def require(self, key: str) -> npt.NDArray[Any]:
        """The array of a field, by its key.

        Raises:
          TrajectoryError: the trajectory lacks it.
        """
        array: npt.NDArray[Any] | None = getattr(self, key)
        if array is None:
            raise TrajectoryError(f"{key} is absent: the training loop did not give it")
        return array

    @property
    def healthy(self) -> BoolArray:
        """(S,) bool: the networks that did not diverge."""
        return ~self.diverged

    @property
    def i_xt_given_y(self) -> FloatArray:
        """(S, E, L) I(X;T|Y) = I(X;T) - I(T;Y), bits, by the Markov chain Y - X - T; of estimates may be negative."""
        return self.i_xt - self.i_ty

    @property
    def i_xt_share(self) -> FloatArray:
        """(S, E, L) I(X;T) / H(X), of the patterns measured on; not clipped, NaN where H(X) = 0."""
        return schema.share(self.i_xt, self.extras.get("h_x_measured", self.h_x))

    @property
    def i_ty_share(self) -> FloatArray:
        """(S, E, L) I(T;Y) / I(X;Y), of the patterns measured on; not clipped, NaN where I(X;Y) = 0."""
        return schema.share(self.i_ty, self.extras.get("i_xy_measured", self.i_xy))

    def epoch_index(self, epoch: float) -> int:
        """Index of the logged epoch nearest to `epoch` (the earlier of two)."""
        return int(np.argmin(np.abs(self.epochs - epoch)))

    def setting(self, field: str) -> npt.NDArray[Any]:
        """The value of a field of the configuration in each network, (S,), also where it is one a seed.

        Raises:
          TrajectoryError: the configuration has no such field, or not one value for each of its seeds.
        """
        config = self.config.get("config", {})
        if field not in config:
            raise TrajectoryError(f"the configuration has no field {field!r}")
        value, seeds = config[field], config.get("seeds")
        if not isinstance(value, list) or field not in PER_SEED:
            return np.array([value] * self.seeds.size)
        # A file may name any number of them: no more are counted than tell that they are too many.
        named = list(range(min(seeds, len(value) + 1))) if isinstance(seeds, int) else seeds or []
        if len(named) != len(value) or not set(self.seeds.tolist()) <= set(named):
            raise TrajectoryError(f"{field} of the configuration has not one value for each of its seeds")
        of_seed = dict(zip(named, value, strict=True))
        return np.array([of_seed[seed] for seed in self.seeds.tolist()])

    def swept(self) -> dict[str, npt.NDArray[Any]]:
        """The fields that hold one value a seed (a sweep), by name: `setting` of each, (S,)."""
        recorded = self.config.get("config", {})
        return {field: self.setting(field) for field in PER_SEED if isinstance(recorded.get(field), list)}

    def of_seeds(self, seeds: Iterable[int]) -> "Trajectory":
        """The same trajectory with these seeds only, in the order given.

        Raises:
          TrajectoryError: a seed is not in the trajectory, is named twice, or none is named.
        """
        return self._select("seeds", seeds)

    def of_epochs(self, epochs: Iterable[int]) -> "Trajectory":
        """The same trajectory at these logged epochs only, such as `traj.epochs[::10]`.

        Raises:
          TrajectoryError: an epoch was not logged, they do not increase, or none is named.
        """
        return self._select("epochs", epochs)

    def of_estimator(self, name: str) -> "Trajectory":
        """The same trajectory with the values of this estimator, of those it holds, as `i_xt` and `i_ty`.

        So figures, analysis and tables are of these. Those that were `i_xt` and `i_ty` become extras under the name of
        their estimator ("histogram" in a run's file), and `config["measured"]` tells the new one.

        Raises:
          TrajectoryError: it holds no values of the estimator; lists those that it holds.
        """
        return replace(self, **estimators.with_first(self, name))

    def _select(self, label: str, wanted: Iterable[int]) -> "Trajectory":
        """The entries of all arrays, along the axis of the labels `seeds` or `epochs`, that `wanted` names."""
        labels = getattr(self, label)
        where = {value: index for index, value in enumerate(labels.tolist())}
        wanted = [int(value) for value in wanted]
        if missing := [value for value in wanted if value not in where]:
            raise TrajectoryError(f"{label} {missing} are not among the {len(where)} of this trajectory")
        chosen = [where[value] for value in wanted]

        def take(array: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
            axis = axes.find(label[0].upper())
            return array if axis < 0 else array[(slice(None),) * axis + (chosen,)]

        arrays = {key: take(getattr(self, key), AXES[key]) for key in self._measured()}
        extras = {key: take(array, extra_axes(key, self.layer_names)) for key, array in self.extras.items()}
        return replace(self, **{label: labels[chosen], **arrays}, extras=extras)

    def pieces(self) -> "Iterator[Trajectory]":
        """The parts that can be read one after another; of a folder (`ibjax.load`) its files, else the trajectory."""
        yield self

    def differences(self, other: "Trajectory") -> dict[str, float]:
        """Where two trajectories disagree, configuration aside: key -> largest absolute difference.

        Empty when every array agrees to the bit (NaN equals NaN). Infinity stands for another shape or dtype,
        a key that one of them lacks, names, and NaN against a number.
        """
        return differences(self.arrays(), other.arrays())

    def to_xarray(self) -> "xarray.Dataset":
        """The trajectory as an `xarray.Dataset`: dimensions `seed`, `epoch`, `layer`, `pattern`, each with its labels.

        Every array of the file is a variable under its key with `long_name` and `units` (bits, nats, epochs, or 1), the
        informations also with the estimator, its options and what it gives (`estimate_is`: exact, upper bound, ...).
        Scalars are variables too, what was swept over seeds (`swept`) is a coordinate. The attributes hold
        `schema_version` and `config` as JSON. Nothing is copied.

        Raises:
          ModuleNotFoundError: xarray is not installed.
        """
        return to_xarray(self.arrays(), self.config, self.swept())

    def to_dataframe(self) -> "pandas.DataFrame":
        """The trajectory as a tidy `pandas.DataFrame`, a row for each seed, epoch and layer, in this order.

        Columns: `seed`, `epoch`, `layer` (ordered from the input on), `layer_width`, what was `swept` over seeds, the
        arrays of (S, E, L) under their keys, and those of a network repeated for its layers. `attrs["units"]`: units.

        Raises:
          ModuleNotFoundError: pandas is not installed.
        """
        return to_dataframe(self.arrays(), self.config, self.swept())

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
        """Write the npz file, whole or not at all, and return its path.

        The name stays as given; what a symbolic link points to is replaced. Weights are compressed.

        Raises:
          FileExistsError: the file is there and `overwrite` is false.
          OSError: it cannot be written; a file that was there stays as it was.
        """
        weights = [key for key in self.extras if key.startswith(schema.WEIGHTS)]
        return write_arrays(path, self.arrays(), overwrite=overwrite, compressed=weights)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What the file holds, by key: schema version, `config` as JSON, the fields that are not absent, the extras."""
        return {
            "schema_version": np.array(2 if self.absent else 1),
            "config": np.array(json.dumps(self.config)),
            **{key: np.asarray(getattr(self, key)) for key in schema.KEYS[2:] if key not in self.absent},
            **self.extras,
        }

    def _measured(self) -> list[str]:
        """Keys of `AXES` that are there."""
        return [key for key in AXES if key not in self.absent]
