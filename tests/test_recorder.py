"""The recorder: what a foreign loop gives is measured as in a run, and nothing wrong is recorded.

Shapes: S networks, N patterns, U units.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

import ibjax
from ibjax import Recorder, Trajectory
from ibjax.cli.main import main
from ibjax.networks.perceptron import Perceptron

pytestmark = pytest.mark.usefixtures("unoptimized")

N = 60
RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 3, N)
Layers = dict[str, npt.NDArray[Any]]


def layers(seed: int = 0, n: int = N) -> Layers:
    """Two layers whose units take few values, so that cells hold several patterns."""
    rng = np.random.default_rng(seed)
    return {
        "first": np.round(rng.normal(size=(n, 3)), 0).astype(np.float32),
        "last": np.round(rng.normal(size=(n, 2)), 0).astype(np.float32),
    }


def recorded(recorder: Recorder, epochs: int = 3, **given: Any) -> Trajectory:
    for epoch in range(epochs):
        recorder.log(epoch, layers(epoch), **given)
    return recorder.trajectory()


def test_values_are_those_of_the_kernel() -> None:
    traj = recorded(Recorder(LABELS))
    assert traj.layer_names == ("first", "last")
    assert traj.layer_widths == (3, 2)
    assert traj.epochs.tolist() == [0, 1, 2]
    assert traj.seeds.tolist() == [0]
    for epoch in range(3):
        for place, of_layer in enumerate(layers(epoch).values()):
            i_xt, i_ty = ibjax.layer_information(of_layer, np.eye(3)[LABELS], low=None, high=None)
            assert traj.i_xt[0, epoch, place] == pytest.approx(float(i_xt), abs=1e-6)
            assert traj.i_ty[0, epoch, place] == pytest.approx(float(i_ty), abs=1e-6)
    assert traj.h_x == pytest.approx(np.log2(N))
    counts = np.bincount(LABELS) / N
    assert (traj.h_y, traj.i_xy) == pytest.approx((-(counts * np.log2(counts)).sum(),) * 2)
    assert traj.absent == (
        *("train_loss", "test_loss", "train_accuracy", "test_accuracy"),
        *("gradient_mean", "gradient_std", "weight_norm", "train_mask"),
    )


def test_a_run_recorded_from_outside_is_the_run() -> None:
    """The built-in network's activations, logged by hand, give the run's own numbers."""
    config = ibjax.Config(seeds=2, epochs=3, logged_epochs=(0, 3), hidden_widths=(4, 3), store_weights=True)
    run = ibjax.run(config)
    task = ibjax.spherical_dataset()
    recorder = Recorder(p_y_given_x=task.p_y_given_x, inputs=task.inputs, bounded=True, seeds=2)
    net = Perceptron((12, 4, 3, 1))
    for place, epoch in enumerate(run.epochs.tolist()):
        params = [
            {"kernel": run.extras[f"weights_{name}"][:, place], "bias": run.extras[f"biases_{name}"][:, place]}
            for name in run.layer_names
        ]
        _, activations = jax.vmap(net.apply, in_axes=(0, None))(params, jnp.asarray(task.inputs, jnp.float32))
        weights = {name: layer["kernel"] for name, layer in zip(run.layer_names, params, strict=True)}
        named = dict(zip(run.layer_names, activations, strict=True))
        recorder.log(
            epoch, named, loss={"train": run.train_loss[:, place], "test": run.test_loss[:, place]}, weights=weights
        )
    traj = recorder.trajectory()
    for key in ("i_xt", "i_ty"):
        np.testing.assert_allclose(getattr(traj, key), getattr(run, key), rtol=0, atol=1e-5)
    np.testing.assert_allclose(traj.weight_norm, run.weight_norm, rtol=1e-5)
    np.testing.assert_array_equal(traj.train_loss, run.train_loss)
    assert (traj.i_xy, traj.h_x, traj.h_y) == pytest.approx((run.i_xy, run.h_x, run.h_y))


@pytest.mark.parametrize(
    ("labels", "same"),
    [
        (LABELS.tolist(), True),
        (np.eye(3)[LABELS], True),
        (np.eye(3, dtype=bool)[LABELS], True),
        (jnp.asarray(LABELS), True),
        (LABELS[:, None], True),
        (np.array(["ant", "bee", "cat"])[LABELS], True),
        ([("ant", "bee", "cat")[label] for label in LABELS], True),
        (np.array(["ant", "bee", "cat"], object)[LABELS], True),
        (LABELS + 7, True),
        (LABELS.astype(np.float32), True),
        (LABELS == 1, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_labels_of_every_kind(labels: Any, same: bool) -> None:
    traj, expected = recorded(Recorder(labels), 1), recorded(Recorder(LABELS), 1)
    assert np.allclose(traj.i_ty, expected.i_ty) is same
    assert np.array_equal(traj.i_xt, expected.i_xt)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_probabilities_of_few_bits_sum_to_one(dtype: Any) -> None:
    """Their rows miss 1 by what their type rounds to."""
    p = jax.nn.softmax(jnp.asarray(RNG.normal(size=(N, 5))), axis=1).astype(dtype)
    assert abs(np.asarray(p, np.float64).sum(axis=1) - 1).max() > 1e-6
    for recorder in (Recorder(p), Recorder(p_y_given_x=p)):
        rows = recorded(recorder, 1).extras["p_y_given_x"]
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=0, atol=1e-6)
        np.testing.assert_allclose(rows, np.asarray(p, np.float64), rtol=0.02)


def test_real_labels_are_put_into_cells_of_equal_population() -> None:
    y = RNG.normal(size=N)
    traj = recorded(Recorder(y, label_cells=4), 1)
    assert traj.h_y == pytest.approx(2)
    quarter = np.argsort(np.argsort(y)) // (N // 4)
    assert np.array_equal(traj.i_ty, recorded(Recorder(quarter), 1).i_ty)


def test_equal_inputs_are_one_value_of_x() -> None:
    inputs = np.repeat(np.arange(N // 2), 2)[:, None]
    labels = np.repeat(LABELS[: N // 2], 2)
    traj = recorded(Recorder(labels, inputs=inputs), 1)
    assert traj.h_x == pytest.approx(np.log2(N / 2))


def test_axes_beyond_the_patterns_become_one() -> None:
    image = RNG.normal(size=(N, 2, 3, 2)).astype(np.float32)
    a, b = Recorder(LABELS), Recorder(LABELS)
    a.log(0, [image])
    b.log(0, [image.reshape(N, -1)])
    assert a.trajectory().layer_widths == (12,)
    assert a.trajectory().layer_names == ("layer_1",)
    assert not a.trajectory().differences(b.trajectory())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int8, jnp.bool_])
def test_types_of_few_bits(dtype: Any) -> None:
    exact = (RNG.normal(size=(N, 2)) > 0).astype(np.float32)
    a, b = Recorder(LABELS), Recorder(LABELS)
    a.log(0, [jnp.asarray(exact, dtype)])
    b.log(0, [exact])
    assert np.array_equal(a.trajectory().i_xt, b.trajectory().i_xt)


class Exported:
    """An array of a framework that NumPy and JAX know by one protocol only."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array


class ByDlpack(Exported):
    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


class ByArray(Exported):
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self._array


class OnAccelerator(ByDlpack):
    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def cpu(self) -> ByDlpack:
        return ByDlpack(self._array)


class Sparse:
    """As a tensor of PyTorch in another layout."""

    is_sparse = True


class OnlyGet(Exported):
    """As CuPy's: an array elsewhere that `get` brings here."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def get(self) -> npt.NDArray[Any]:
        return self._array


@pytest.mark.parametrize("kind", [ByDlpack, ByArray, OnAccelerator, OnlyGet])
def test_arrays_of_other_frameworks(kind: type[Exported]) -> None:
    other, plain = Recorder(LABELS), Recorder(LABELS)
    plain.log(0, layers())
    other.log(0, {name: kind(array) for name, array in layers().items()})
    assert not other.trajectory().differences(plain.trajectory())


def test_an_ensemble_is_its_members() -> None:
    together = Recorder(LABELS, seeds=(4, 9), estimators=("histogram", "kde"))
    alone = [Recorder(LABELS, seed=seed, estimators=("histogram", "kde")) for seed in (4, 9)]
    for epoch in (0, 5):
        members = [layers(10 * seed + epoch) for seed in (4, 9)]
        losses = np.array([0.5, 0.25]) / (epoch + 1)
        together.log(epoch, {name: np.stack([m[name] for m in members]) for name in members[0]}, loss=losses)
        for recorder, member, loss in zip(alone, members, losses, strict=True):
            recorder.log(epoch, member, loss=loss)
    joint, merged = together.trajectory(), ibjax.concatenate([recorder.trajectory() for recorder in alone])
    assert not {key: gap for key, gap in joint.differences(merged).items() if gap > 1e-6}
    assert joint.seeds.tolist() == [4, 9]


def test_as_many_networks_as_patterns() -> None:
    """(4, 4, 3) could be read in two ways; the recorder knows which axis is which."""
    labels = np.array([0, 1, 1, 0])
    together, alone = Recorder(labels, seeds=4), Recorder(labels)
    a = np.round(RNG.normal(size=(4, 4, 3)))
    together.log(0, [a])
    alone.log(0, [a[2]])
    assert together.trajectory().i_xt[2, 0, 0] == alone.trajectory().i_xt[0, 0, 0]


def test_what_the_caller_does_with_its_arrays_later_changes_nothing() -> None:
    given = np.linspace(0, 1, N)
    recorder = Recorder(p_y_given_x=given)
    recorder.log(0, layers())
    given[:] = 0
    np.testing.assert_array_equal(recorder.trajectory().extras["p_y_given_x"], np.linspace(0, 1, N))


@pytest.mark.parametrize("estimators", [("corrected",), ("histogram", "corrected")])
def test_an_estimate_beyond_a_bound_is_told_as_such(estimators: tuple[str, ...]) -> None:
    recorder = Recorder(LABELS, estimators=estimators)
    recorder.log(0, [np.arange(N, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)])
    with pytest.warns(RuntimeWarning, match="corrected is an estimate, and here some of its values cannot be") as told:
        recorder.trajectory()
    assert len(told) == 1


def test_estimators_after_the_first_have_keys_of_their_own() -> None:
    traj = recorded(Recorder(LABELS, estimators={"kde": {"noise_variance": 0.1}, "histogram": {}}), 1)
    i_xt, i_ty = ibjax.kde_information(layers()["first"], np.eye(3)[LABELS], noise_variance=0.1)
    assert traj.i_xt[0, 0, 0] == pytest.approx(float(i_xt), abs=1e-6)
    assert traj.i_ty[0, 0, 0] == pytest.approx(float(i_ty), abs=1e-6)
    assert {"i_xt_histogram", "i_ty_histogram"} <= traj.extras.keys()
    assert traj.config["measured"]["estimator"] == "kde"


def test_an_estimator_that_needs_the_inputs(tmp_path: Path) -> None:
    """Has those that the recorder was given; without them, or with others than those of the file, it is refused."""
    inputs, path = np.random.default_rng(0).normal(size=(N, 2, 3)), tmp_path / "mine.npz"
    traj = recorded(Recorder(LABELS, estimators=("histogram", "edge"), inputs=inputs, path=path), 1)
    for place, of_layer in enumerate(layers().values()):
        bits = ibjax.edge_information(of_layer, np.eye(3)[LABELS], inputs=inputs)
        for row, value in bits._asdict().items():
            assert traj.extras[f"{row}_edge"][0, 0, place] == pytest.approx(float(value), abs=1e-6)
    with pytest.raises(TypeError, match="inputs = None; allowed for 'edge': the patterns themselves"):
        Recorder(LABELS, estimators=("histogram", "edge"))
    with pytest.raises(ValueError, match="it is of another recorder; other inputs; allowed"):
        Recorder(LABELS, estimators=("histogram", "edge"), inputs=inputs[::-1], path=path)


def test_cells_of_one_pattern_and_ranges_are_told() -> None:
    recorder = Recorder(LABELS, bounded=("squashed",))
    wide = np.arange(N, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    recorder.log(0, {"wide": wide, "squashed": np.zeros((N, 1), np.float32)})
    traj = recorder.trajectory()
    assert traj.extras["range_low"][0, 0, 0] == 0
    assert traj.extras["range_high"][0, 0, 0] == N - 1
    assert np.isnan(traj.extras["range_low"][0, 0, 1])
    counts = np.bincount(np.floor(wide[:, 0] / (N - 1) * 30).clip(0, 29).astype(int))
    assert traj.extras["singleton_share"][0, 0, 0] == pytest.approx((counts == 1).sum() / (counts > 0).sum())
    assert traj.extras["singleton_share"][0, 0, 1] == 0


def test_gradients_by_minibatch_and_together() -> None:
    stacks = {"first": RNG.normal(size=(7, 4, 3)), "last": RNG.normal(size=(7, 3, 2))}
    single, together = Recorder(LABELS), Recorder(LABELS)
    for minibatch in range(7):
        single.add_gradients({name: stack[minibatch] for name, stack in stacks.items()})
    single.log(1, layers())
    together.log(1, layers(), gradients=stacks)
    for traj in (single.trajectory(), together.trajectory()):
        for place, stack in enumerate(stacks.values()):
            assert traj.gradient_mean[0, 0, place] == pytest.approx(np.linalg.norm(stack.mean(axis=0)))
            assert traj.gradient_std[0, 0, place] == pytest.approx(np.linalg.norm(stack.std(axis=0)))
    single.add_gradients({"first": stacks["first"][0]})  # those before the log are gone, so other layers may come
    single.log(2, layers())
    assert single.trajectory().gradient_mean[0, 1, 0] == pytest.approx(np.linalg.norm(stacks["first"][0]))
    assert np.isnan(single.trajectory().gradient_mean[0, 1, 1])


def test_what_only_some_logs_were_given_is_nan_in_the_others() -> None:
    recorder = Recorder(LABELS)
    recorder.log(0, layers())
    recorder.log(1, layers(1), accuracy={"test": 0.5})
    traj = recorder.trajectory()
    np.testing.assert_array_equal(traj.test_accuracy, [[np.nan, 0.5]])
    assert "train_accuracy" in traj.absent


def test_activations_that_are_not_finite_count_as_diverged(tmp_path: Path) -> None:
    """The flag says so; nothing is lost but what cannot be measured, the layer at that log."""
    path = tmp_path / "mine.npz"
    recorder = Recorder(LABELS, seeds=2, estimators=("histogram", "kde"), path=path)
    both = {name: np.stack([array, array]) for name, array in layers().items()}
    recorder.log(0, both)
    broken = {name: array.copy() for name, array in both.items()}
    broken["last"][1, 3, 0] = np.nan
    with pytest.warns(RuntimeWarning, match=r"epoch 1: not finite: activations of last; 1 of 2 networks count as div"):
        recorder.log(1, broken, loss=[0.1, 0.2], accuracy=0.5 * np.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.log(2, broken, loss=[0.1, 0.2])  # said once
        again = Recorder(LABELS, seeds=2, estimators=("histogram", "kde"), path=path)
        again.log(3, both, loss=[0.1, 0.2])
    for traj in (again.trajectory(), ibjax.load(path)):
        assert traj.diverged.tolist() == [False, True]
        np.testing.assert_array_equal(traj.train_loss, [[np.nan, 0.1, 0.1, 0.1], [np.nan, 0.2, 0.2, 0.2]])
        for values in (traj.i_xt, traj.i_ty, *(traj.extras[key] for key in ("i_xt_kde", "singleton_share"))):
            assert np.isnan(values[1]).tolist() == [[False, False], [False, True], [False, True], [False, False]]
            assert np.isfinite(values[0]).all()
    again.rewind(0)
    assert not again.trajectory().diverged.any()


def test_a_layer_that_is_not_bounded_is_told_once() -> None:
    recorder = Recorder(LABELS, bounded=True)
    wide = np.tile(np.array([0.5, 2.0], np.float32), (N, 1))
    with pytest.warns(RuntimeWarning, match=r"layer 'wide' is bounded, but 0.5 of its activations lie outside") as told:
        recorder.log(0, {"wide": wide, "within": wide / 2})
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.log(1, {"wide": wide, "within": wide / 2})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_counts_as_diverged(tmp_path: Path, value: float) -> None:
    path = tmp_path / "mine.npz"
    recorder = Recorder(LABELS, path=path)
    recorder.log(0, layers())  # without a loss, which says nothing
    with pytest.warns(RuntimeWarning, match=r"epoch 1: not finite: test_loss; 1 of 1 networks count as diverged"):
        recorder.log(1, layers(), loss={"train": 1.0, "test": value})
    recorder.log(2, layers(), loss=1.0)
    traj = ibjax.load(path)
    assert traj.diverged.all()
    assert np.isfinite(traj.i_xt).all()
    np.testing.assert_array_equal(traj.train_loss, [[np.nan, 1, 1]])
    np.testing.assert_array_equal(traj.test_loss, [[np.nan, value, np.nan]])


def test_a_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    given: dict[str, Any] = {"loss": {"train": 0.5, "test": 0.75}, "accuracy": 0.25}
    whole = recorded(Recorder(LABELS), 4, **given)
    first = Recorder(LABELS, path=path)
    for epoch in range(3):
        first.log(epoch, layers(epoch), **given)
    del first  # the process dies here
    again = Recorder(LABELS, path=path)
    assert again.epochs == (0, 1, 2)
    again.rewind(1)  # the loop's own checkpoint is older than the last log
    for epoch in (2, 3):
        again.log(epoch, layers(epoch), **given)
    assert not again.trajectory().differences(whole)
    assert not ibjax.load(path).differences(whole)


def test_a_file_is_continued_whatever_the_order_of_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    within = {name: array / 8 for name, array in layers().items()}
    Recorder(LABELS, path=path, bounded=("first", "last")).log(0, within)
    again = Recorder(LABELS, path=path, bounded=["last", "first"])
    again.log(1, within)
    assert again.epochs == (0, 1)


def test_a_log_that_cannot_be_written_can_be_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    recorder = Recorder(LABELS, path=folder / "mine.npz")
    recorder.add_gradients({"first": np.ones((3, 2))})
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        recorder.log(0, layers())
    assert recorder.epochs == ()
    folder.mkdir()
    recorder.log(0, layers())
    assert ibjax.load(folder / "mine.npz").gradient_mean[0, 0, 0] == pytest.approx(6**0.5)


def test_no_gradients_and_no_kernels_are_as_none_given() -> None:
    recorder = Recorder(LABELS)
    recorder.add_gradients({})
    recorder.log(0, layers(), gradients={}, weights={})
    assert {"gradient_mean", "weight_norm"} <= set(recorder.trajectory().absent)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "nodir/mine.npz",
            FileNotFoundError,
            r"path = 'nodir/mine.npz' cannot be written: there is no folder '.*nodir'",
        ),
        (".", IsADirectoryError, r"path = '.' cannot be written: Is a directory"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_at_once(path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Recorder(LABELS, path=path)


def test_two_recorders_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    first, second = Recorder(LABELS, path=path), Recorder(LABELS, path=path)
    first.log(0, layers())
    with pytest.raises(FileExistsError, match="somebody else, another recorder perhaps, has changed it"):
        second.log(0, layers())
    first.log(1, layers(1))
    assert ibjax.load(path).epochs.tolist() == [0, 1]


def test_a_recorder_tells_what_it_holds(tmp_path: Path) -> None:
    recorder = Recorder(LABELS, path=tmp_path / "mine.npz")
    assert repr(recorder).startswith("Recorder(0 logged epochs, layers not known yet, path '")
    recorded(recorder, 3)
    assert repr(recorder).startswith("Recorder(3 logged epochs 0..2, layers first last, path '")


def test_rewind_forgets(tmp_path: Path) -> None:
    recorder = Recorder(LABELS)
    recorder.log(3, layers())
    for wrong in (float("nan"), "a", -2):
        with pytest.raises((TypeError, ValueError), match=r"epoch = .*; allowed: an integer from -1"):
            recorder.rewind(wrong)  # type: ignore[arg-type] # that is the point
    recorder.rewind(2)
    assert recorder.epochs == ()
    recorder.log(0, [np.zeros((N, 4))])  # other layers: nothing is left to follow


def test_gradients_of_no_layer_do_not_stay() -> None:
    recorder = Recorder(LABELS)
    recorder.add_gradients({"frist": np.ones(3)})  # no layer is known yet
    with pytest.raises(ValueError, match="gradients = 'frist'; allowed: 'first', 'last'"):
        recorder.log(0, layers())
    recorder.add_gradients({"first": np.ones(3)})
    recorder.log(0, layers())
    with pytest.raises(ValueError, match="gradients = 'frist'; allowed: 'first', 'last'"):
        recorder.add_gradients({"frist": np.ones(3)})


def test_numbers_that_name_classes_may_be_large() -> None:
    large = np.array([1e20, 2e20, 3e20])[LABELS]
    assert np.array_equal(recorded(Recorder(large), 1).i_ty, recorded(Recorder(LABELS), 1).i_ty)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 20}, r"estimators histogram options bins: 30, here 20"),
        ({"bounded": True}, r"bounded: False, here True"),
        ({"seed": 3}, r"seeds: \[0\], here \[3\]"),
        ({"layer_names": ("last", "first")}, r"it holds the layers first, last; allowed: those of layer_names"),
        ({"labels": LABELS[::-1]}, r"it is of another recorder; other labels; allowed: an equal one"),
        ({"labels": LABELS // 2}, r"it is of another recorder; other labels; allowed: an equal one"),
        ({"estimators": ("kde",)}, r"it is of another recorder; estimators histogram, here kde; allowed"),
        ({"inputs": np.arange(N)[:, None] // 2}, r"h_x: 5.9"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_of_another_recorder_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "mine.npz"
    recorded(Recorder(LABELS, path=path), 1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        Recorder(**{"labels": LABELS, **options}, path=path)
    assert path.read_bytes() == before


def test_a_file_of_a_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    ibjax.run(ibjax.Config(seeds=1, epochs=1, hidden_widths=(2,))).save(path)
    with pytest.raises(ValueError, match="it is of no recorder; allowed: a new name"):
        Recorder(LABELS, path=path)


def test_the_trajectory_is_taken_by_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.npz"
    recorded(Recorder(LABELS, path=path), 3, loss=0.5)
    assert main(["info", str(path)]) == 0
    assert "recorder" not in capsys.readouterr().err
    assert main(["plot", str(path), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "mine_trajectories.png").exists()
    assert main(["bound", str(path)]) == 0
    assert f"{np.log2(3):.2f}"[:3] in capsys.readouterr().out


def test_a_file_has_no_weights_to_measure_and_nothing_to_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.npz"
    recorded(Recorder(LABELS, path=path), 1)
    for command in (["measure", str(path), "--estimator", "kde"], ["rerun", str(path)]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert str(path) in told
        assert "it is of a recorder, which keeps no weights" in told.replace("' is of", "' it is of")


def test_a_loss_that_one_of_two_was_given_is_named_as_absent() -> None:
    pieces = [recorded(Recorder(LABELS), 1), recorded(Recorder(LABELS, seed=1), 1, loss=0.5)]
    for order in (1, -1):
        absent = "0" if order == 1 else "1"
        with pytest.raises(ibjax.TrajectoryError, match=rf"differ in train_loss \(absent in {absent}\)"):
            ibjax.concatenate(pieces[::order])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, TypeError, r"labels and p_y_given_x: allowed: one of them"),
        ({"labels": LABELS, "p_y_given_x": LABELS}, TypeError, r"labels and p_y_given_x: allowed: one of them"),
        ({"labels": np.linspace(0, 1, N)}, ValueError, r"labels hold .*, which names no class; allowed: whole numbers"),
        ({"labels": np.zeros(N, int)}, ValueError, r"labels names one class, 0"),
        ({"labels": np.zeros((N, 2, 2))}, ValueError, r"labels have shape \(60, 2, 2\); allowed: \(N,\)"),
        ({"labels": np.ones(N) + 1j}, TypeError, r"labels"),
        (
            {"labels": np.full((N, 2), 0.7)},
            ValueError,
            r"labels of shape \(60, 2\), as p\(y\|x\), sums to 1.4 in row 0",
        ),
        ({"p_y_given_x": LABELS == 0, "label_cells": 2}, TypeError, r"label_cells = 2 with p_y_given_x; allowed: None"),
        ({"labels": LABELS, "label_cells": 1}, ValueError, r"label_cells = 1; allowed: an integer from 2 to 4096"),
        ({"labels": np.full(N, 0.5), "label_cells": 3}, ValueError, r"labels are all 0.5; allowed: at least 2"),
        ({"labels": LABELS, "estimators": ()}, ValueError, r"estimators is empty; allowed: at least one"),
        (
            {"labels": LABELS, "estimators": ("kd",)},
            ValueError,
            r"estimators\[0\] = 'kd'; .*mean 'kde'",
        ),
        (
            {"labels": LABELS, "estimators": {"kde": {}, "compressed": {"neighbors": 2, "samples": 2}}},
            ValueError,
            r"estimators\['compressed'\]: neighbors = 2; allowed",
        ),
        (
            {"labels": LABELS, "estimators": {"histogram": {"bins": 10}}},
            ValueError,
            r"allowed: the argument bins, which the histogram takes",
        ),
        ({"labels": LABELS, "inputs": np.ones((N - 1, 2))}, ValueError, r"inputs have shape \(59, 2\); allowed: \(60,"),
        ({"labels": "labels.npy"}, TypeError, r"labels are of type builtins.str; allowed: an array or a list"),
        ({"labels": b"labels.npy"}, TypeError, r"labels are of type builtins.bytes; allowed"),
        ({"labels": {"a": 1, "b": 0}}, TypeError, r"labels are of type builtins.dict; allowed"),
        ({"labels": [1, "a"] * 30}, TypeError, r"labels hold names and 1; allowed: all names, or all numbers"),
        ({"labels": np.array(["a", "b", None] * 20, object)}, TypeError, r"labels hold names and None"),
        ({"labels": np.array(["a", "b", np.nan] * 20, object)}, TypeError, r"labels hold names and nan"),
        ({"labels": np.full((N, 3), 0.4, np.float16)}, ValueError, r"labels of .* sums to 1.1997.* in row 0"),
        ({"labels": np.array([np.inf, 1.0] * 30)}, ValueError, r"labels hold NaN or infinite values; allowed: whole"),
        ({"p_y_given_x": [0.5]}, ValueError, r"p_y_given_x has shape \(1,\); allowed: .* at least 2 patterns"),
        ({"labels": LABELS, "bins": 1}, ValueError, r"bins = 1; allowed: an integer from 2 to 4096"),
        ({"labels": LABELS, "seeds": 0}, ValueError, r"seeds = 0; allowed: an integer from 1"),
        ({"labels": LABELS, "seeds": (1, 1)}, ValueError, r"seeds holds 1 more than once"),
        ({"labels": LABELS, "seeds": 2, "seed": 1}, ValueError, r"seed = 1 and seeds = 2; allowed: one of them"),
        ({"labels": LABELS, "layer_names": "fc"}, TypeError, r"layer_names = 'fc'; allowed: a sequence of names"),
        ({"labels": LABELS, "p_x": np.ones(N)}, ValueError, r"p_x sums to 60"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Recorder(**options)


@pytest.mark.parametrize(
    ("options", "epoch", "activations", "given", "message"),
    [
        ({}, 0, [np.zeros((N - 1, 2))], {}, r"layer 'layer_1' has shape \(59, 2\); allowed: \(patterns, ...\) = \(60"),
        ({"seeds": 2}, 0, [np.zeros((3, N, 2))], {}, r"allowed: \(seeds, patterns, ...\) = \(2, 60, ...\)"),
        ({"layer_names": ("fc",)}, 0, layers(), {}, r"layer_names = 'fc'; allowed: 'first', 'last'"),
        ({"layer_names": ("fc",)}, 0, list(layers().values()), {}, r"activations are of 2 layers; allowed: 1"),
        ({"bounded": ("fc",)}, 0, layers(), {}, r"bounded = 'fc'; allowed: 'first', 'last'"),
        ({}, 0, [np.zeros((2 * N, 2))], {}, r"these are 2 passes of them: one block of watch for each log"),
        ({}, 0, {}, {}, r"activations are of no layer"),
        ({}, 0, {"a\nb": np.zeros((N, 2))}, {}, r"activations = \('a.*; allowed: at least one name, each printable"),
        (
            {},
            0,
            {1: np.zeros((N, 2)), "1": np.zeros((N, 2))},
            {},
            r"activations are of 1, '1'; allowed: different names",
        ),
        ({}, 0, layers(), {"accuracy": 57.0}, r"train_accuracy = 57; allowed: 0 to 1"),
        ({}, 0, layers(), {"weights": [np.ones(3)]}, r"weights = .*; allowed: a dict of arrays, by layer"),
        ({}, 0, [np.zeros((3, N, 2))], {}, r"is the first axis that of networks\? Recorder\(\.\.\., seeds=3\)"),
        ({}, 0, [Sparse()], {}, r"layer 'layer_1' is of .*Sparse, sparse; allowed: a dense array"),
        ({}, 0, np.zeros((N, 2)), {}, r"activations are of type numpy.ndarray; allowed: a dict or a list of arrays"),
        (
            {},
            0,
            [np.array(["a"] * N)],
            {},
            r"layer 'layer_1' is of .* with dtype <U1; allowed: an array of real",
        ),
        ({}, 0, [np.zeros((N, 2), complex)], {}, r"layer 'layer_1' is of .* with dtype complex128; allowed: "),
        ({}, -1, layers(), {}, r"epoch = -1; allowed: an integer from 0"),
        ({}, 0.5, layers(), {}, r"epoch = 0.5; allowed: an integer from 0"),
        ({}, 0, layers(), {"loss": [1.0, 2.0]}, r"loss\['train'\] has shape \(2,\); allowed: one number for each of 1"),
        ({}, 0, layers(), {"loss": {"valid": 1.0}}, r"loss = 'valid'; allowed: 'train', 'test'"),
        ({}, 0, layers(), {"gradients": {"fc": np.ones((2, 3))}}, r"gradients = 'fc'; allowed: 'first', 'last'"),
        ({}, 0, layers(), {"weights": {"fc": np.ones((2, 3))}}, r"weights = 'fc'; allowed: 'first', 'last'"),
        (
            {},
            0,
            layers(),
            {"gradients": {"first": np.ones((2, 3)), "last": np.ones((3, 3))}},
            r"of \[2, 3\] minibatches",
        ),
        ({"estimators": ("knn",)}, 0, [np.zeros((N, 17))], {}, r"estimator 'knn', layer 'layer_1': .*16"),
    ],
)
def test_wrong_logs_record_nothing(
    options: dict[str, Any], epoch: Any, activations: Any, given: dict[str, Any], message: str
) -> None:
    recorder = Recorder(LABELS, **options)
    with pytest.raises((ValueError, TypeError), match=message):
        recorder.log(epoch, activations, **given)
    assert recorder.epochs == ()
    with pytest.raises(ValueError, match="nothing has been recorded"):
        recorder.trajectory()


@pytest.mark.parametrize(
    ("epoch", "change", "message"),
    [
        (1, {}, r"epoch = 1; allowed: more than 1, the last recorded \(rewind\(epoch\) forgets"),
        (0, {}, r"epoch = 0; allowed: more than 1"),
        (2, {"last": np.zeros((N, 5))}, r"layer 'last' has 5 units; allowed: 2, as before"),
        (
            2,
            {"more": np.zeros((N, 5))},
            r"activations are of the layers first, last, more; allowed: first, last",
        ),
    ],
)
def test_logs_that_do_not_follow_record_nothing(epoch: int, change: Layers, message: str) -> None:
    recorder = Recorder(LABELS)
    recorder.log(1, layers())
    with pytest.raises(ValueError, match=message):
        recorder.log(epoch, layers() | change)
    assert recorder.epochs == (1,)


def test_minibatches_of_another_shape_are_refused() -> None:
    recorder = Recorder(LABELS)
    recorder.add_gradients({"first": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"gradients are of .*; allowed: .*, as at the minibatch before"):
        recorder.add_gradients({"first": np.ones((2, 2))})
