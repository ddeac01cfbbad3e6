"""Trajectory and its file: what is written comes back to the bit, anything else is refused with a reason."""

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ibjax import _files, analysis
from ibjax import npz as archive
from ibjax.trajectory import Trajectory, TrajectoryError, concatenate, load
from ibjax.trajectory.schema import AXES, KEYS, OPTIONAL

BITS = ("i_xt", "i_ty")


def small(**changes: Any) -> Trajectory:
    """S=2, E=3, L=2, N=5, all values different."""
    count = iter(range(1000))

    def floats(*shape: int) -> np.ndarray:
        return np.array([next(count) / 64 for _ in range(int(np.prod(shape)))], np.float32).reshape(shape)

    values: dict[str, Any] = {
        "config": {
            "config": {"seeds": [7, 9], "bins": 30},
            "versions": {"numpy": "2.0"},
            "device_kind": "cpu",
        },
        "seeds": np.array([7, 9]),
        "epochs": np.array([0, 1, 10]),
        "layer_names": ("hidden é", "output"),
        "layer_widths": (3, 1),
        **{key: floats(2, 3, 2) for key in ("i_xt", "i_ty", "gradient_mean", "gradient_std", "weight_norm")},
        **{key: floats(2, 3) for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")},
        "train_mask": np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], bool),
        "diverged": np.array([False, True]),
        "i_xy": 0.99,
        "h_x": 12.0,
        "h_y": 0.9991571,
        "extras": {"weights_output": floats(2, 3, 3, 1), "i_xt_kde": floats(2, 3, 2), "inputs": floats(5, 4)},
    }
    return Trajectory(**{**values, **changes})


def assert_same(a: Trajectory, b: Trajectory) -> None:
    """Every field agrees to the bit, dtype included; written without `Trajectory.differences`."""
    for entry in fields(Trajectory):
        mine, theirs = getattr(a, entry.name), getattr(b, entry.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tobytes() == theirs.tobytes(), entry.name
        elif entry.name == "extras":
            assert mine.keys() == theirs.keys()
            assert all(mine[key].dtype == theirs[key].dtype for key in mine)
            assert all(mine[key].tobytes() == theirs[key].tobytes() for key in mine)
        else:
            assert mine == theirs, entry.name


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rebuilt(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A valid zip with right checksums of the given members."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in contents.items():
            file.writestr(name, data)
    return path


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return small().save(tmp_path / "run.npz")


def test_of_epochs(trajectory: Trajectory) -> None:
    some = trajectory.of_epochs(trajectory.epochs[[0, 7, -1]].tolist())
    np.testing.assert_array_equal(some.epochs, trajectory.epochs[[0, 7, -1]])
    np.testing.assert_array_equal(some.i_xt, trajectory.i_xt[:, [0, 7, -1]])
    np.testing.assert_array_equal(some.test_loss, trajectory.test_loss[:, [0, 7, -1]])
    np.testing.assert_array_equal(some.train_mask, trajectory.train_mask)
    bad: list[tuple[list[int], str]] = [([3_500_000], "3500000"), ([], "empty"), ([10_000, 0], "increase")]
    for epochs, words in bad:
        with pytest.raises(TrajectoryError, match=words):
            trajectory.of_epochs(epochs)


class TestOfEstimator:
    """Another estimator's values in the place of the first's, and back."""

    @staticmethod
    def made() -> Trajectory:
        run = small()
        told = {"kde": {"i_xt": "upper bound", "i_ty": "estimate", "options": {"noise_variance": 0.1}}}
        further = {f"{what}_{name}": getattr(run, what) + n for n, name in ((1, "kde"), (2, "soft")) for what in BITS}
        extras = {**run.extras, **further, "i_xt_error_kde": run.i_xt / 8}
        return replace(run, config={**run.config, "estimators": told}, extras=extras)

    def test_there_and_back(self) -> None:
        run = self.made()
        kde = run.of_estimator("kde")
        for what in BITS:
            np.testing.assert_array_equal(getattr(kde, what), run.extras[f"{what}_kde"])
            np.testing.assert_array_equal(kde.extras[f"{what}_histogram"], getattr(run, what))
            np.testing.assert_array_equal(kde.extras[f"{what}_soft"], run.extras[f"{what}_soft"])
        np.testing.assert_array_equal(kde.extras["i_xt_error"], run.extras["i_xt_error_kde"])
        assert not {"i_xt_kde", "i_ty_kde", "i_xt_error_kde"} & kde.extras.keys()
        assert kde.config["measured"] == {"estimator": "kde", **run.config["estimators"]["kde"]}
        again = kde.of_estimator("soft").of_estimator("histogram")
        assert again.differences(run) == {}
        assert "measured" not in again.config
        assert run.of_estimator("histogram").config == run.config

    def test_one_that_was_measured_again(self) -> None:
        """Its facts stay its own; a run's values under the same name are not written over."""
        run = self.made()
        measured = {"estimator": "kde", "i_xt": "upper bound", "versions": {}, "options": {"noise_variance": 0.5}}
        run = replace(run, config={**run.config, "measured": measured})
        soft = run.of_estimator("soft")
        np.testing.assert_array_equal(soft.extras["i_xt_kde"], run.extras["i_xt_kde"])
        assert soft.config["estimators"]["kde"]["options"] == {"noise_variance": 0.1}
        told = {key: value for key, value in measured.items() if key != "estimator"}
        once = replace(run, extras={key: run.extras[key] for key in ("i_xt_soft", "i_ty_soft")})
        there = replace(once, config={**run.config, "estimators": {}}).of_estimator("soft")
        assert there.config["estimators"] == {"kde": told}
        assert there.of_estimator("kde").config["measured"] == measured

    def test_one_that_is_not_there(self) -> None:
        words = "estimator = 'sliced'; allowed: 'histogram', 'kde', 'soft', whose values the trajectory holds"
        with pytest.raises(TrajectoryError, match=words):
            self.made().of_estimator("sliced")


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_field_comes_back_to_the_bit(self, tmp_path: Path, dtype: type) -> None:
        i_xt: np.ndarray = np.array([np.nan, -0.0, 1e-40, 12.0, 0.1, np.inf] * 2, dtype).reshape(2, 3, 2)
        before = small(i_xt=i_xt)
        assert_same(before, load(before.save(tmp_path / "a.npz")))

    def test_fields_are_the_keys_of_schema_1(self, saved: Path) -> None:
        with np.load(saved, allow_pickle=False) as file:
            assert set(file) == {*KEYS, "weights_output", "i_xt_kde", "inputs"}
            assert file["schema_version"] == 1
            assert file["schema_version"].shape == file["config"].shape == file["h_x"].shape == ()
            assert json.loads(file["config"].item())["config"]["bins"] == 30
            assert file["layer_names"].tolist() == ["hidden é", "output"]
        assert {entry.name for entry in fields(Trajectory)} == {*KEYS, "extras"} - {"schema_version"}

    def test_config_is_what_json_gives_back(self) -> None:
        given = {"config": {"hidden_widths": (3, 2), "seeds": 2}}
        held = small(config=given).config
        assert held == {"config": {"hidden_widths": [3, 2], "seeds": 2}}
        given["config"]["seeds"] = 5
        assert held["config"]["seeds"] == 2

    def test_equal_trajectories_give_equal_bytes(self, tmp_path: Path) -> None:
        first = small().save(tmp_path / "a").read_bytes()
        assert first == small().save(tmp_path / "b").read_bytes()

    def test_fortran_order_and_foreign_byte_order(self, saved: Path, tmp_path: Path) -> None:
        contents = members(saved)
        i_xt = small().i_xt
        contents["i_xt.npy"] = npy(np.asfortranarray(i_xt).astype(">f4", order="F"))
        again = load(rebuilt(tmp_path / "b.npz", contents))
        assert again.i_xt.dtype == np.dtype("=f4")
        np.testing.assert_array_equal(again.i_xt, i_xt)

    def test_files_of_savez_compressed_are_read(self, saved: Path, tmp_path: Path) -> None:
        with np.load(saved) as file:
            np.savez_compressed(tmp_path / "c.npz", **file)
        assert_same(load(saved), load(tmp_path / "c.npz"))


class TestSaving:
    @pytest.mark.parametrize("name", ["plain.npz", "no ending", "with space é 信息.npz", "a.tar", "x" * 251 + ".npz"])
    def test_the_name_is_used_as_given(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        assert small().save(os.fspath(path)) == path
        assert [entry.name for entry in tmp_path.iterdir()] == [name]
        assert_same(small(), load(path))

    def test_a_symbolic_link_stays(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        target, link = tmp_path / "folder" / "real.npz", tmp_path / "link.npz"
        target.write_text("old")
        link.symlink_to(target)
        small().save(link)
        assert link.is_symlink()
        assert_same(small(), load(target))

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_a_failed_write_leaves_the_old_file_alone(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, call: str
    ) -> None:
        before = saved.read_bytes()

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            small(h_x=11.0).save(saved)
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]

    def test_an_existing_file_is_kept_on_request(self, saved: Path) -> None:
        before = saved.read_bytes()
        with pytest.raises(FileExistsError):
            small(h_x=11.0).save(saved, overwrite=False)
        assert saved.read_bytes() == before
        saved.unlink()
        small(h_x=11.0).save(saved, overwrite=False)
        assert load(saved).h_x == 11.0
        assert list(saved.parent.iterdir()) == [saved]

    def test_a_file_that_appears_meanwhile_is_kept(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_files, "check_target", lambda *_: None)
        with pytest.raises(FileExistsError):
            small(h_x=11.0).save(saved, overwrite=False)
        assert load(saved).h_x == 12.0
        assert list(saved.parent.iterdir()) == [saved]

    def test_permissions_of_the_old_file_stay(self, saved: Path) -> None:
        saved.chmod(0o640)
        small().save(saved)
        assert saved.stat().st_mode & 0o777 == 0o640

    def test_a_new_file_obeys_the_umask(self, tmp_path: Path) -> None:
        old = os.umask(0o027)
        try:
            path = small().save(tmp_path / "new.npz")
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o640

    def test_places_that_hold_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            small().save(tmp_path / "missing" / "a.npz")
        with pytest.raises(IsADirectoryError):
            small().save(tmp_path)
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with pytest.raises(OSError, match="not a regular file"):
            small().save(pipe)
        assert list(tmp_path.iterdir()) == [pipe]

    def test_a_typical_file_takes_little_time_and_space(self, tmp_path: Path) -> None:
        S, E, L = 50, 250, 8
        big = {key: np.zeros((S, E, L), np.float32) for key in ("i_xt", "i_ty", "gradient_mean", "gradient_std")}
        flat = {key: np.zeros((S, E), np.float32) for key in ("train_loss", "test_loss")}
        flat |= {key: np.zeros((S, E), np.float32) for key in ("train_accuracy", "test_accuracy")}
        run = small(
            **big,
            **flat,
            weight_norm=np.zeros((S, E, L), np.float32),
            seeds=np.arange(S),
            epochs=np.arange(E),
            layer_names=tuple("abcdefgh"),
            layer_widths=(1,) * L,
            train_mask=np.zeros((S, 4096), bool),
            diverged=np.zeros(S, bool),
            extras={},
        )
        start = time.perf_counter()
        load(run.save(tmp_path / "a.npz"))
        assert time.perf_counter() - start < 2.0
        assert (tmp_path / "a.npz").stat().st_size < 5 * S * E * L * 4 + 4 * S * E * 4 + S * 4096 + 20_000


BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "rank": ({"i_xt": np.zeros((3, 2), np.float32)}, r"i_xt .*shape \(3, 2\).*S=2, E=3, L=2"),
    "seeds and rows": ({"train_loss": np.zeros((1, 3))}, r"train_loss .*\(S=2, E=3\)"),
    "integers for floats": ({"i_ty": np.zeros((2, 3, 2), int)}, "i_ty is int64.*float32 or float64"),
    "half precision": ({"i_ty": np.zeros((2, 3, 2), np.float16)}, "i_ty is float16"),
    "complex": ({"i_ty": np.zeros((2, 3, 2), complex)}, "i_ty is complex128"),
    "objects": ({"i_ty": np.full((2, 3, 2), None)}, "i_ty is object"),
    "numbers for flags": ({"diverged": np.zeros(2)}, "diverged is float64.*bool"),
    "mask of rank 1": ({"train_mask": np.zeros(2, bool)}, r"train_mask .*\(S=2, N\)"),
    "float seeds": ({"seeds": np.array([7.0, 9.0])}, "seeds is float64.*integers"),
    "no seeds": ({"seeds": np.array([], int)}, "seeds is empty"),
    "repeated seeds": ({"seeds": np.array([7, 7])}, "seeds holds one twice"),
    "huge seed": ({"seeds": np.array([7, 2**63 + 1], np.uint64)}, "seeds holds .*beyond int64"),
    "negative epoch": ({"epochs": np.array([-1, 1, 2])}, "epochs must"),
    "epochs out of order": ({"epochs": np.array([0, 2, 1])}, "epochs must"),
    "repeated epoch": ({"epochs": np.array([0, 1, 1])}, "epochs must"),
    "one string as names": ({"layer_names": "ab"}, "layer_names is 'ab'"),
    "empty name": ({"layer_names": ("", "b")}, "layer_names"),
    "NUL in a name": ({"layer_names": ("a\0", "b")}, "layer_names"),
    "repeated name": ({"layer_names": ("b", "b")}, "layer_names holds one twice"),
    "zero width": ({"layer_widths": (0, 1)}, "layer_widths"),
    "too few widths": ({"layer_widths": (3,)}, "layer_widths"),
    "NaN entropy": ({"h_x": float("nan")}, "h_x is nan"),
    "array entropy": ({"h_x": np.zeros(1)}, "h_x"),
    "text entropy": ({"h_x": "12"}, "h_x"),
    "config no dict": ({"config": ["a"]}, "config is of type list"),
    "config no JSON": ({"config": {"a": object()}}, "config cannot be written"),
    "config nested deeply": ({"config": {"a": [[[json.loads("[" * 33 + "]" * 33)]]]}}, "nested too deeply.* 32 levels"),
    "configuration of text": ({"config": {"config": "x"}}, "config of the config = 'x'; allowed: a dict of the fields"),
    "configuration null": ({"config": {"config": None}}, "config of the config = None; allowed: a dict"),
    "versions a list": ({"config": {"versions": [1]}}, r"versions of the config = \[1\]; allowed: a dict"),
    "estimators numbers": ({"config": {"estimators": {"kde": 3}}}, "estimators of the config = .*a dict of dicts"),
    "measured a list": ({"config": {"measured": []}}, "measured of the config"),
    "options a number": (
        {"config": {"measured": {"options": 3}}},
        "measured options of the config = 3; allowed: a dict",
    ),
    "custom a number": ({"config": {"custom": 5}}, "custom of the config = 5; allowed: a list of names"),
    "custom of numbers": ({"config": {"custom": [5]}}, r"custom of the config = \[5\]; allowed: a list of names"),
    "merged from numbers": ({"config": {"merged_from": 3}}, "merged_from of the config = 3; allowed: a list of dicts"),
    "seeds of lists": ({"config": {"config": {"seeds": [[7], 9]}}}, "seeds of the configuration = .*a list of them"),
    "rates of text": ({"config": {"config": {"noise": [0.1, "x"]}}}, "noise of the configuration = .*a list of them"),
    "a long value": ({"config": {"custom": "x" * 999}}, "custom of the config = 'x{56}[.]{3}; allowed"),
    "unknown extra": ({"extras": {"stage": np.zeros(2)}}, "'stage' is no key"),
    "weights of no layer": ({"extras": {"weights_h9": np.zeros((2, 3))}}, "'weights_h9' is no key"),
    "weights of other seeds": ({"extras": {"weights_output": np.zeros((3, 3))}}, r"\(S=2, E=3, \.\.\.\)"),
    "extra objects": ({"extras": {"weights_output": np.full((2, 3), None)}}, "weights_output is object"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_bad_fields_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrajectoryError, match=message):
        small(**changes)


class TestUsing:
    def test_arrays_cannot_be_changed_and_the_callers_can(self) -> None:
        own = np.ones((2, 3, 2))
        held = small(i_xt=own)
        with pytest.raises(ValueError, match="read-only"):
            held.i_xt[0, 0, 0] = 0.0
        own[0, 0, 0] = 5.0

    def test_repr_is_short(self) -> None:
        assert repr(small()) == ("Trajectory(2 seeds (1 diverged), 3 logged epochs 0..10, layers hidden é output)")

    def test_of_seeds_keeps_the_order_asked_for(self) -> None:
        both = small()
        swapped = both.of_seeds([9, 7])
        assert swapped.seeds.tolist() == [9, 7]
        np.testing.assert_array_equal(swapped.i_xt, both.i_xt[::-1])
        np.testing.assert_array_equal(swapped.train_mask, both.train_mask[::-1])
        np.testing.assert_array_equal(swapped.extras["weights_output"], both.extras["weights_output"][::-1])
        np.testing.assert_array_equal(swapped.extras["inputs"], both.extras["inputs"])
        assert both.healthy.tolist() == [True, False]
        assert swapped.healthy.tolist() == [False, True]

    @pytest.mark.parametrize(("seeds", "message"), [([8], r"\[8\] are not"), ([7, 7], "twice"), ([], "seeds")])
    def test_of_seeds_refuses(self, seeds: list[int], message: str) -> None:
        with pytest.raises(TrajectoryError, match=message):
            small().of_seeds(seeds)

    @pytest.mark.parametrize(("epoch", "index"), [(0, 0), (0.6, 1), (5, 1), (6, 2), (1e9, 2), (-3, 0)])
    def test_nearest_logged_epoch(self, epoch: float, index: int) -> None:
        assert small().epoch_index(epoch) == index

    def test_differences(self) -> None:
        one = small()
        moved = np.array(one.i_xt)
        moved[1, 2, 0] += 0.25
        lost = np.array(one.i_ty)
        lost[0, 0, 0] = np.nan
        other = small(i_xt=moved, i_ty=lost, train_loss=one.train_loss.astype(np.float64), config={})
        assert one.differences(small()) == {}
        assert other.differences(other) == {}
        assert one.differences(other) == {"i_ty": np.inf, "i_xt": 0.25, "train_loss": np.inf}
        assert one.differences(small(extras={})).keys() == one.extras.keys()
        flipped = small(diverged=np.array([True, True]), layer_names=("a", "output"))
        assert one.differences(flipped) == {"diverged": 1.0, "layer_names": np.inf}


class TestConcatenate:
    def test_parts_make_the_whole(self, trajectory: Trajectory) -> None:
        parts = [trajectory.of_seeds(seeds) for seeds in ([0, 1], [2], [3, 4, 5])]
        whole = concatenate(parts)
        assert_same(replace(whole, config=trajectory.config), trajectory)
        assert whole.config["config"]["seeds"] == [0, 1, 2, 3, 4, 5]
        assert [part["seeds"] for part in whole.config["merged_from"]] == [[0, 1], [2], [3, 4, 5]]
        nested = concatenate([concatenate(parts[:2]), parts[2]])
        assert nested.config == whole.config

    def test_one_stays_as_it_is(self, trajectory: Trajectory) -> None:
        assert concatenate([trajectory]) is trajectory

    def test_extras_of_the_task_are_kept_once(self) -> None:
        whole = concatenate([small(), small(seeds=np.array([1, 2]))])
        assert whole.extras["inputs"].shape == (5, 4)
        assert whole.extras["weights_output"].shape == (4, 3, 3, 1)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"config": {"config": {"seeds": 3, "bins": 31}}}, r"config bins \(30, 31\)"),
            ({"config": {"config": {"bins": 30, "new": None}}}, r"config new"),
            ({"epochs": np.array([0, 1, 11])}, "epochs"),
            ({"layer_names": ("a", "output")}, "layer_names"),
            ({"layer_widths": (4, 1)}, "layer_widths"),
            ({"i_xy": 0.98}, "i_xy"),
            ({"i_xt": np.zeros((2, 3, 2))}, "i_xt"),
            ({"train_mask": np.zeros((2, 6), bool), "extras": {}}, "train_mask"),
            ({"extras": {}}, "i_xt_kde"),
            (
                {"config": {**small().config, "measured": {"estimator": "kde", "options": {}}}},
                r"measured \(None, .*kde",
            ),
            ({"config": {**small().config, "estimators": {"kde": {"options": {"a": 1}}}}}, r"estimators \(None, .*1"),
            ({"config": {**small().config, "custom": ["network"]}}, r"custom \(None, \['network'\]\)"),
            ({"seeds": np.array([3, 9])}, r"\[9\] occur in more than one"),
        ],
    )
    def test_what_differs_is_named(self, changes: dict[str, Any], message: str) -> None:
        other = small(**{"seeds": np.array([1, 2]), **changes})
        with pytest.raises(TrajectoryError, match=message):
            concatenate([small(), other])

    def test_versions_and_device_may_differ(self) -> None:
        other = small(
            seeds=np.array([1, 2]),
            config={
                "config": {"seeds": [1, 2], "bins": 30},
                "versions": {"numpy": "2.9"},
                "device_kind": "gpu",
            },
        )
        sources = concatenate([small(), other]).config["merged_from"]
        assert [source["device_kind"] for source in sources] == ["cpu", "gpu"]

    @pytest.mark.parametrize(
        ("field", "before", "other"),
        [("weight_decay", 0.0, 0.1), ("momentum", 0.0, 0.1), ("loss", "cross_entropy", "mean_squared_error")],
    )
    def test_fields_of_later_versions_are_as_they_were_without(self, field: str, before: Any, other: Any) -> None:
        one = {"seeds": [1, 2], "bins": 30}
        later = [small(seeds=np.array([1, 2]), config={"config": {**one, field: d}}) for d in (before, other)]
        assert concatenate([small(), later[0]]).seeds.size == 4
        with pytest.raises(TrajectoryError, match=rf"config {field} \({before!r}, {other!r}\)"):
            concatenate([small(), later[1]])

    def test_any_iterable_of_trajectories(self) -> None:
        parts = (small(seeds=np.array(seeds)) for seeds in ([1, 2], [7, 9]))
        assert concatenate(parts).seeds.tolist() == [1, 2, 7, 9]
        assert concatenate(small()).seeds.tolist() == [7, 9]  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"trajectories\[1\] = 'a.npz'; allowed: an ibjax.Trajectory"):
            concatenate([small(), "a.npz"])  # type: ignore[list-item]

    def test_none_given(self) -> None:
        with pytest.raises(TrajectoryError, match="at least one"):
            concatenate([])


class Explosive:
    """Unpickling one leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (os.fspath(self.path),)


class TestRefusing:
    def refused(self, path: Path, message: str) -> None:
        """Refused, with path and reason, and without much memory."""
        tracemalloc.start()
        try:
            with pytest.raises(TrajectoryError, match=message) as caught:
                load(path)
            assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
        finally:
            tracemalloc.stop()
        assert os.fspath(path) in str(caught.value)

    def changed(self, saved: Path, **arrays: Any) -> Path:
        contents = members(saved)
        contents.update({f"{key}.npy": value for key, value in arrays.items()})
        return rebuilt(saved, contents)

    def test_errors_of_the_file_system_stay_what_they_are(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "missing.npz")
        with pytest.raises(IsADirectoryError):
            load(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_unreadable_file(self, saved: Path) -> None:
        saved.chmod(0)
        with pytest.raises(PermissionError):
            load(saved)

    def test_a_pipe_does_not_hang(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        self.refused(tmp_path / "pipe", "not a regular file")

    @pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 1000, b"PK\5\6" + b"\0" * 18, b"\x93NUMPY\1\0"])
    def test_not_an_npz(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.npz").write_bytes(content)
        self.refused(tmp_path / "a.npz", "a.npz' as a trajectory: (damaged|it holds no)")

    def test_other_peoples_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros(3))
        self.refused(tmp_path / "a.npz", "no schema_version")

    def test_other_peoples_zip(self, tmp_path: Path) -> None:
        self.refused(rebuilt(tmp_path / "a.zip", {"readme.txt": b"hello"}), "'readme.txt', which is not an array")

    def test_another_schema_version_comes_first(self, saved: Path) -> None:
        contents = {"schema_version.npy": npy(3), "news.npy": npy(0)}
        self.refused(rebuilt(saved, contents), "schema version 3; this ibjax reads versions 1 and 2")

    @pytest.mark.parametrize("version", [npy("1"), npy(1.0), npy([1])])
    def test_schema_version_of_another_type(self, saved: Path, version: bytes) -> None:
        self.refused(self.changed(saved, schema_version=version), "schema_version is")

    def test_missing_keys_are_named(self, saved: Path) -> None:
        contents = members(saved)
        del contents["i_ty.npy"], contents["h_x.npy"]
        self.refused(rebuilt(saved, contents), "lacks i_ty, h_x")

    def test_unknown_keys_are_named(self, saved: Path) -> None:
        self.refused(self.changed(saved, more=npy(1)), "'more' is no key")

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    def test_a_key_given_twice(self, saved: Path) -> None:
        with zipfile.ZipFile(saved, "a") as file:
            file.writestr("h_x.npy", npy(3.0))
        self.refused(saved, "'h_x' twice")

    def test_pickled_objects_are_not_run(self, saved: Path, tmp_path: Path) -> None:
        bomb = np.array([Explosive(tmp_path / "harm")], object)
        for key in ("i_xt", "config", "schema_version", "layer_names", "seeds"):
            self.refused(self.changed(saved, **{key: npy(bomb)}), "Python objects")
        self.refused(self.changed(saved, schema_version=pickle.dumps(Explosive(tmp_path / "harm"))), "damaged")
        assert not (tmp_path / "harm").exists()

    @pytest.mark.parametrize(
        ("key", "content", "message"),
        [
            ("i_xt", npy(np.zeros((2, 3, 2), int)), "i_xt is int64"),
            ("i_xt", npy(np.zeros((3, 2, 2))), "i_xt is float64 of shape"),
            ("i_xt", npy(np.zeros((2, 3, 2), "f4,f4")), "i_xt: dtype"),
            ("i_xt", npy(np.zeros((2, 3, 2), "M8[s]")), "i_xt: dtype"),
            ("i_xt", npy(np.zeros((2, 3, 2)))[:-1], "does not fill"),
            ("i_xt", npy(np.zeros((2, 3, 2))) + b"\0", "does not fill"),
            ("i_xt", b"", "i_xt"),
            ("diverged", npy(np.array([0, 2], np.uint8)).replace(b"|u1", b"|b1"), "neither 0 nor 1"),
            ("layer_names", npy(np.array([1, 2])), "layer_names or config is not text"),
            ("layer_names", npy(np.array([b"a", b"b"])), "layer_names: dtype"),
            ("layer_names", npy(np.array(["ab", "cd"])).replace(b"d\0\0\0", b"\xff" * 4), "as a trajectory"),
            ("config", npy(np.array(["{}"])), "layer_names or config is not text"),
            ("config", npy(np.array("{")), "config is no JSON"),
            ("config", npy(np.array("[" * 100_000)), "config is no JSON"),
            ("config", npy(np.array("[1]")), "config is of type list"),
            ("h_x", npy(np.array(np.inf)), "h_x is"),
            ("h_x", npy(np.array([1.0])), "h_x is"),
            ("seeds", npy(np.zeros((0, 10**18))), "seeds"),
        ],
    )
    def test_wrong_members_are_named(self, saved: Path, key: str, content: bytes, message: str) -> None:
        self.refused(self.changed(saved, **{key: content}), message)

    def header(self, shape: str, dtype: str = "<f4") -> bytes:
        text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
        padded = text.ljust(117) + "\n"
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(padded)) + padded.encode()

    @pytest.mark.parametrize(
        "shape",
        ["(10**9,)", "(1000000000000,)", "(-2, -6)", "(3037000500, 3037000500, 2)", "(True, 12)", "12"],
    )
    def test_declared_shapes_are_compared_with_the_size(self, saved: Path, shape: str) -> None:
        self.refused(self.changed(saved, i_xt=self.header(shape) + bytes(48)), "i_xt")

    def test_text_without_length(self, saved: Path) -> None:
        self.refused(self.changed(saved, layer_names=self.header("(10000000000,)", "<U0")), "layer_names: dtype")

    def test_a_zip_bomb_is_not_unpacked(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert archive.MAX_EXPANSION < 10**9
        monkeypatch.setattr(archive, "MAX_EXPANSION", 10**7)  # a bomb of real size takes seconds to make
        contents = members(saved)
        contents["i_xt.npy"] = self.header("(5000000,)") + bytes(2 * 10**7)
        rebuilt(saved, contents, zipfile.ZIP_DEFLATED)
        assert saved.stat().st_size < 10**5
        self.refused(saved, "declare 2000.* bytes of arrays")

    def test_a_bomb_that_lies_about_its_size(self, saved: Path) -> None:
        contents = members(saved)
        real, claimed = 6 * 10**7, 176
        contents["i_xt.npy"] = (self.header("(2, 3, 2)") + bytes(48)).ljust(real, b"\0")
        rebuilt(saved, contents, zipfile.ZIP_DEFLATED)
        saved.write_bytes(saved.read_bytes().replace(struct.pack("<I", real), struct.pack("<I", claimed)))
        self.refused(saved, "i_xt")

    def test_a_huge_table_of_contents(self, tmp_path: Path) -> None:
        rebuilt(tmp_path / "a.npz", {f"{index}.npy": b"" for index in range(30_000)})
        self.refused(tmp_path / "a.npz", "table of contents takes")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_compression(self, saved: Path, method: int) -> None:
        self.refused(rebuilt(saved, members(saved), method), "compressed by method")

    def test_an_entry_that_swallows_the_next(self, saved: Path) -> None:
        """The last array is an optional one: without it the file would still be a trajectory."""
        data = bytearray(saved.read_bytes())
        end, last = data.index(b"PK\5\6"), data.rindex(b"PK\1\2")
        before = data.rindex(b"PK\1\2", 0, last)
        data[before + 32 : before + 34] = struct.pack("<H", end - last)  # the length of its comment
        saved.write_bytes(data)
        with zipfile.ZipFile(saved) as file:
            assert "inputs.npy" not in file.namelist()
        self.refused(saved, "carries notes")

    def test_encryption(self, saved: Path) -> None:
        data = bytearray(saved.read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        saved.write_bytes(data)
        self.refused(saved, "encrypted")


class TestFuzz:
    """Nothing but the same trajectory or a `TrajectoryError` ever comes out; over 13,000 cases."""

    def outcome(self, path: Path, content: bytes) -> Trajectory | None:
        path.write_bytes(content)
        try:
            return load(path)
        except TrajectoryError:
            return None

    def test_truncated_at_every_length(self, saved: Path) -> None:
        whole = saved.read_bytes()
        assert len(whole) > 5000
        assert [n for n in range(len(whole)) if self.outcome(saved, whole[:n]) is not None] == []
        assert self.outcome(saved, whole) is not None

    def test_flipped_overwritten_removed_and_inserted_bytes(self, saved: Path) -> None:
        whole, truth, rng = saved.read_bytes(), load(saved), random.Random(1)
        read = 0
        for case in range(3000):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 1, 1, 2, 8))):
                where = rng.randrange(len(data))
                length = rng.choice((1, 2, 4, 16))
                match case % 4:
                    case 0:
                        data[where] ^= 1 << rng.randrange(8)
                    case 1:
                        data[where : where + length] = rng.choice(
                            (rng.randbytes(length), b"\xff" * length, bytes(length))
                        )[: len(data) - where]
                    case 2:
                        del data[where : where + length]
                    case _:
                        data[where:where] = rng.randbytes(length)
            result = self.outcome(saved, bytes(data))
            if result is not None:
                assert_same(result, truth)
                read += 1
        assert 0 < read < 1500  # dates, attributes: some bytes say nothing

    def test_directory_and_headers_are_the_target(self, saved: Path) -> None:
        """Damage to the zip's own structures, where most of a parser's mistakes live."""
        whole, truth, rng = saved.read_bytes(), load(saved), random.Random(2)
        start = whole.index(b"PK\1\2")
        for _ in range(3000):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 2, 3))):
                data[rng.randrange(start, len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            result = self.outcome(saved, bytes(data))
            if result is not None:
                assert_same(result, truth)

    def test_wrong_members_with_right_checksums(self, saved: Path) -> None:
        """Past the checksum anything may be in a member: it must still be a trajectory or be refused."""
        original, rng = members(saved), random.Random(3)
        words = [b"(", b")", b"-", b"'", b"9" * 20, b"O", b"V", b"U", b"S", b"{", b"\0", b"L", b"[", b"\xff"]
        for _ in range(600):
            contents = dict(original)
            for name in rng.sample(sorted(contents), rng.choice((1, 2))):
                data = bytearray(contents[name])
                for _ in range(rng.choice((1, 2, 4))):
                    where = rng.randrange(min(len(data), rng.choice((12, 128, 10**6))))
                    word = rng.choice((rng.choice(words), rng.randbytes(1)))
                    data[where : where + rng.choice((0, len(word)))] = word
                contents[name] = bytes(data)
            rebuilt(saved, contents)
            self.outcome(saved, saved.read_bytes())


def test_reading_imports_no_jax(saved: Path) -> None:
    code = (
        "import sys, ibjax.trajectory, ibjax.analysis, ibjax.figures\n"
        f"ibjax.trajectory.load({os.fspath(saved)!r})\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'jax', 'jaxlib', 'flax', 'optax'})\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["set()", "False"]


class TestInterchange:
    """xarray and pandas: every number under its labels, units, and what is missing said."""

    told = {  # noqa: RUF012
        "estimators": {"kde": {"i_xt": "upper bound", "options": {"noise_variance": 0.5}}},
        "measured": {"estimator": "knn", "i_xt": "estimate", "options": {"k": 3}},
    }

    def whole(self) -> Trajectory:
        floats = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
        more = {"i_xt_error": floats, "i_xt_error_kde": floats + 1, "params": np.zeros((2, 3, 7), np.float32)}
        more |= {"biases_output": np.ones((2, 3, 1), np.float32), "p_y_given_x": np.ones((5, 2), np.float32)}
        return small(extras={**small().extras, **more}, config={**small().config, **self.told})

    def test_xarray(self) -> None:
        traj = self.whole()
        data = traj.to_xarray()
        assert dict(data.sizes) == {
            "seed": 2,
            "epoch": 3,
            "layer": 2,
            "pattern": 5,
            "parameter": 7,
            "output_input": 3,
            "output_unit": 1,
            "feature": 4,
            "label": 2,
        }
        scalars = {"i_xy", "h_x", "h_y"}
        assert set(data.data_vars) == {*AXES, *scalars, *traj.extras}
        for key in data.data_vars:
            expected = traj.extras[key] if key in traj.extras else getattr(traj, key)
            assert np.array_equal(data[key].values, expected)
            assert {"long_name", "units"} <= data[key].attrs.keys()
        assert data.i_xt.dims == ("seed", "epoch", "layer")
        assert data.weights_output.dims == ("seed", "epoch", "output_input", "output_unit")
        assert float(data.i_ty.sel(seed=9, epoch=10, layer="output")) == traj.i_ty[1, 2, 1]
        assert data.layer_width.sel(layer="output") == 1
        units = {"i_ty": "bits", "i_xy": "bits", "train_loss": "nats", "epoch": "epochs", "i_xt_error_kde": "bits"}
        assert {key: data[key].attrs["units"] for key in units} == units
        assert data.i_xt.attrs["estimator"] == "knn"
        assert data.i_xt.attrs["estimate_is"] == "estimate"
        assert data.i_xt_kde.attrs["estimator"] == data.i_xt_error_kde.attrs["estimator"] == "kde"
        assert data.i_xt_kde.attrs["estimate_is"] == "upper bound"
        assert json.loads(data.i_xt_kde.attrs["options"]) == {"noise_variance": 0.5}
        assert json.loads(data.attrs["config"]) == traj.config
        assert small(config={}).to_xarray().i_xt.attrs["estimator"] == "histogram"

    def test_dataframe(self) -> None:
        traj = self.whole()
        frame = traj.to_dataframe()
        assert len(frame) == 2 * 3 * 2
        keys = {key for key, axes in AXES.items() if axes in ("SEL", "SE", "S")}
        extras = {"i_xt_kde", "i_xt_error", "i_xt_error_kde"}
        assert set(frame.columns) == {"seed", "epoch", "layer", "layer_width", *keys, *extras}
        indexed = frame.set_index(["seed", "epoch", "layer"])
        for s, seed in enumerate(traj.seeds):
            for e, epoch in enumerate(traj.epochs):
                for index, layer in enumerate(traj.layer_names):
                    row = indexed.loc[(seed, epoch, layer)]
                    assert row.i_ty == traj.i_ty[s, e, index]
                    assert row.i_xt_error_kde == traj.extras["i_xt_error_kde"][s, e, index]
                    assert row.test_loss == traj.test_loss[s, e]
                    assert row.diverged == traj.diverged[s]
                    assert row.layer_width == traj.layer_widths[index]
        assert frame.layer.cat.ordered
        assert list(frame.layer.cat.categories) == list(traj.layer_names)
        assert frame.attrs["units"]["i_xt"] == "bits"
        assert frame.attrs["units"]["train_loss"] == "nats"

    def test_what_was_swept_stands_beside_its_seed(self) -> None:
        """One value a seed, also of a part of the seeds; what is the same for all is no column."""
        swept = {
            "seeds": [3, 7, 9],
            "learning_rate": [0.3, 0.7, 0.9],
            "noise": [0.0, 0.01, 0.02],
            "train_fraction": 0.5,
        }
        traj = small(config={"config": swept})
        frame, data = traj.to_dataframe(), traj.to_xarray()
        assert list(frame.columns[:6]) == ["seed", "epoch", "layer", "layer_width", "learning_rate", "noise"]
        assert frame.groupby("seed")[["learning_rate", "noise"]].agg(set).to_numpy().tolist() == [
            [{0.7}, {0.01}],
            [{0.9}, {0.02}],
        ]
        assert data.learning_rate.dims == data.noise.dims == ("seed",)
        assert float(data.i_xt.sel(seed=9).learning_rate) == 0.9
        assert data.noise.attrs["units"] == frame.attrs["units"]["learning_rate"] == "1"
        assert not {"train_fraction"} & {*frame.columns, *data.coords}
        assert {name: values.tolist() for name, values in traj.swept().items()} == {
            "learning_rate": [0.7, 0.9],
            "noise": [0.01, 0.02],
        }

    @pytest.mark.parametrize("seeds", [10**30, -1, 2, [7, 8], None])
    def test_values_that_are_not_one_a_seed(self, seeds: Any) -> None:
        named = {} if seeds is None else {"seeds": seeds}
        with pytest.raises(TrajectoryError, match="noise of the configuration has not one value"):
            small(config={"config": {"noise": [0.1, 0.2, 0.3], **named}}).to_dataframe()

    @pytest.mark.parametrize(("package", "method"), [("xarray", "to_xarray"), ("pandas", "to_dataframe")])
    def test_missing_packages_are_named(self, package: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ModuleNotFoundError, match=rf"{method} needs {package}.*pip install 'ibjax\[{package}\]'"):
            getattr(small(), method)()


@pytest.mark.parametrize("key", ["i_xt_error_error_kde", "i_xt_error_", "i_ty_", "i_xt_error kde", "params_hidden"])
def test_keys_that_could_be_taken_for_others(key: str) -> None:
    with pytest.raises(TrajectoryError, match="is no key of schema 1"):
        small(extras={key: small().i_xt})


def without(*keys: str, **changes: Any) -> Trajectory:
    """What a training loop that does not give these arrays leaves behind."""
    return small(**dict.fromkeys(keys or OPTIONAL), **changes)


class TestForeignLoops:
    """Schema 2: losses, accuracies, gradients, weight norms and train masks may be absent."""

    @pytest.mark.parametrize("absent", [OPTIONAL, *((key,) for key in OPTIONAL)])
    def test_what_is_there_comes_back(self, tmp_path: Path, absent: tuple[str, ...]) -> None:
        traj = without(*absent)
        path = traj.save(tmp_path / "foreign.npz")
        with np.load(path, allow_pickle=False) as file:
            assert file["schema_version"] == 2
            assert set(file) == {*KEYS, *traj.extras} - {*absent}
        again = load(path)
        assert_same(again, traj)
        assert again.absent == absent
        assert all(getattr(again, key) is None for key in absent)
        assert again.differences(traj) == {}

    def test_a_whole_trajectory_is_still_of_schema_1(self, tmp_path: Path) -> None:
        """Also one read from a file of schema 2: older programs can read what is written."""
        contents = members(small().save(tmp_path / "one.npz"))
        as_two = rebuilt(tmp_path / "two.npz", contents | {"schema_version.npy": npy(2)})
        whole = load(as_two)
        assert_same(whole, small())
        assert whole.save(tmp_path / "again.npz").read_bytes() == (tmp_path / "one.npz").read_bytes()

    @pytest.mark.parametrize("key", OPTIONAL)
    def test_schema_1_must_have_all(self, saved: Path, key: str) -> None:
        contents = members(saved)
        del contents[f"{key}.npy"]
        with pytest.raises(TrajectoryError, match=f"it lacks {key}"):
            load(rebuilt(saved, contents))

    @pytest.mark.parametrize("key", [key for key in KEYS if key not in (*OPTIONAL, "schema_version")])
    def test_schema_2_must_have_the_others(self, tmp_path: Path, key: str) -> None:
        contents = members(without().save(tmp_path / "a.npz"))
        del contents[f"{key}.npy"]
        with pytest.raises(TrajectoryError, match=f"it lacks {key}"):
            load(rebuilt(tmp_path / "a.npz", contents))

    def test_what_is_there_is_checked(self, tmp_path: Path) -> None:
        path = without("gradient_mean").save(tmp_path / "a.npz")
        wrong = rebuilt(path, members(path) | {"gradient_std.npy": npy(np.zeros((2, 3, 5)))})
        with pytest.raises(TrajectoryError, match="gradient_std is float64 of shape"):
            load(wrong)
        with pytest.raises(TrajectoryError, match="i_xt is object"):
            small(i_xt=None)
        patterns = {"inputs": np.zeros((5, 4)), "p_x": np.zeros(6)}
        with pytest.raises(TrajectoryError, match=r"p_x is float64 of shape \(6,\).*N=5"):
            without("train_mask", extras=patterns)

    def test_differences_name_what_one_of_them_lacks(self) -> None:
        lacking = without("train_mask", "test_loss")
        assert small().differences(lacking) == {"train_mask": np.inf, "test_loss": np.inf}
        assert lacking.differences(small()) == {"train_mask": np.inf, "test_loss": np.inf}

    def test_parts_and_the_whole(self) -> None:
        traj = without()
        part = traj.of_epochs([0, 10]).of_seeds([9])
        np.testing.assert_array_equal(part.i_xt, traj.i_xt[1:, [0, 2]])
        assert part.absent == OPTIONAL
        assert repr(part) == repr(small().of_epochs([0, 10]).of_seeds([9]))
        others = without(seeds=np.array([1, 2]))
        whole = concatenate([traj, others])
        assert whole.seeds.tolist() == [7, 9, 1, 2]
        assert whole.absent == OPTIONAL
        with pytest.raises(TrajectoryError, match="differ in train_mask"):
            concatenate([small(), without("train_mask", seeds=np.array([1, 2]))])

    def test_labelled_forms(self) -> None:
        traj = without(extras={})
        data, frame = traj.to_xarray(), traj.to_dataframe()
        assert set(data.data_vars) == {"i_xt", "i_ty", "diverged", "i_xy", "h_x", "h_y"}
        assert "pattern" not in data.sizes
        assert data.attrs["schema_version"] == 2
        assert list(frame.columns) == ["seed", "epoch", "layer", "layer_width", "i_xt", "i_ty", "diverged"]
        assert without().to_xarray().sizes["pattern"] == 5  # of the extra `inputs`

    def test_analyses_say_what_they_need(self) -> None:
        traj = without("gradient_std", "weight_norm", "test_accuracy", diverged=np.zeros(2, bool))
        needs: dict[str, Callable[[], object]] = {
            "gradient_std": lambda: analysis.phase_change(traj),
            "gradient_std is": lambda: analysis.snr(traj),
            "weight_norm": lambda: analysis.normalised_gradients(traj),
            "test_accuracy": lambda: analysis.mean_over_seeds(traj, "test_accuracy"),
        }
        for key, analyse in needs.items():
            with pytest.raises(TrajectoryError, match=f"{key}.* absent"):
                analyse()
        assert analysis.check_bounds(traj).bounds == analysis.check_bounds(small(diverged=np.zeros(2, bool))).bounds
        assert [row.i_xt_end for row in analysis.summary(traj)] == traj.i_xt[:, -1].mean(axis=0).tolist()

    def test_a_stored_file_of_schema_1_is_read(self, tmp_path: Path) -> None:
        """Written key by key, as every ibjax before schema 2 did."""
        traj = small()
        arrays = {key: getattr(traj, key) for key in KEYS if key not in ("schema_version", "config")} | dict(
            traj.extras
        )
        arrays |= {"schema_version": 1, "config": json.dumps(traj.config)}
        path = rebuilt(tmp_path / "old.npz", {f"{key}.npy": npy(array) for key, array in arrays.items()})
        assert_same(load(path), traj)
