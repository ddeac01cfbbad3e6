"""Event files for TensorBoard: read back by the format's own messages, and by TensorBoard where it is installed."""

from __future__ import annotations

import dataclasses
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import synthetic_trajectory

import ibjax
from ibjax.analysis import snr
from ibjax.cli.main import main

EVENTS = "events.out.tfevents.ibjax"


def records(path: Path) -> Iterator[bytes]:
    """A length of 8 bytes, its checksum, so many bytes, their checksum; both of 4 bytes."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield data[12 : 12 + length]
        data = data[16 + length :]


def curves(folder: Path) -> tuple[dict[str, dict[int, float]], dict[str, str]]:
    """What an event file says: by tag and step the values, and by tag the description."""
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    values: dict[str, dict[int, float]] = {}
    told: dict[str, str] = {}
    first, *events = (Event.FromString(record) for record in records(folder / EVENTS))
    assert first.file_version == "brain.Event:2"
    for event in events:
        for value in event.summary.value:
            values.setdefault(value.tag, {})[event.step] = value.simple_value
            told.setdefault(value.tag, value.metadata.summary_description)
    return values, told


@pytest.fixture
def run() -> ibjax.Trajectory:
    """Two of six networks diverged; one set of test patterns is empty; kde measured too."""
    made = synthetic_trajectory(diverged=(1, 4))
    accuracy = np.array(made.test_accuracy)
    accuracy[0] = np.nan
    extras = {"i_xt_kde": made.i_xt + 1, "i_ty_kde": made.i_ty / 2}
    config = {**made.config, "estimators": {"kde": {"i_xt": "upper bound", "i_ty": "estimate", "options": {}}}}
    return dataclasses.replace(made, config=config, extras=extras, test_accuracy=accuracy)


def check(found: dict[int, float], epochs: Any, wanted: Any) -> None:
    """A curve, of which the values that are not finite are left out."""
    finite = np.isfinite(wanted)
    assert list(found) == epochs[finite].tolist()
    np.testing.assert_allclose(list(found.values()), np.asarray(wanted)[finite], rtol=2e-7)


def test_means_of_the_networks_that_did_not_diverge(run: ibjax.Trajectory, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert ibjax.write_tensorboard(run, tmp_path / "below" / "run") == tmp_path / "below" / "run"
    assert [path.name for path in (tmp_path / "below" / "run").iterdir()] == [EVENTS]
    values, told = curves(tmp_path / "below" / "run")
    healthy = run.healthy
    for tag, array in {
        "loss/train": run.train_loss,
        "loss/test": run.test_loss,
        "accuracy/train": run.train_accuracy,
        "accuracy/test": run.test_accuracy,
    }.items():
        check(values.pop(tag), run.epochs, np.nanmean(array[healthy], axis=0, dtype=np.float64))
    for layer, name in enumerate(run.layer_names):
        for key, array in {"i_xt": run.i_xt, "i_ty": run.i_ty, **run.extras}.items():
            check(values.pop(f"{key}/{name}"), run.epochs, array[healthy, :, layer].mean(axis=0, dtype=np.float64))
        ratio = np.log(snr(run)[healthy, :, layer]).mean(axis=0)
        check(values.pop(f"gradient_snr/{name}"), run.epochs, np.exp(ratio))
    assert not values
    assert told["i_xt/h1"] == "mean over 4 networks: I(X;T), bits, histogram"
    assert told["i_xt_kde/h1"] == "mean over 4 networks: I(X;T), bits, kde, upper bound"
    assert told["gradient_snr/h1"].startswith("geometric mean over 4 networks: norm")


def test_each_network(run: ibjax.Trajectory, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    ibjax.write_tensorboard(run, tmp_path, networks=True)
    assert {path.name for path in tmp_path.iterdir()} == {EVENTS, *(f"seed_{seed}" for seed in run.seeds)}
    for index, seed in enumerate(run.seeds):
        values, told = curves(tmp_path / f"seed_{seed}")
        check(values["i_ty/h2"], run.epochs, run.i_ty[index, :, 1])
        check(values["gradient_snr/output"], run.epochs, snr(run)[index, :, 3])
        assert ("accuracy/test" in values) == bool(index)  # all NaN in the first
        assert told["loss/train"] == "cross-entropy of the training patterns, nats"
    assert max(curves(tmp_path / "seed_1")[0]["loss/train"]) < 100  # where it diverged


def test_what_is_not_there_is_left_out(tmp_path: Path) -> None:
    """Of a recorder's trajectory, and the ratio of gradients that do not differ."""
    pytest.importorskip("tensorboardX")
    made = synthetic_trajectory()
    std = np.array(made.gradient_std)
    std[:, 3] = 0.0
    std[1:, 4, 0] = 0.0
    ibjax.write_tensorboard(dataclasses.replace(made, gradient_std=std), tmp_path / "a")
    values, _ = curves(tmp_path / "a")
    found = values["gradient_snr/h1"]
    assert made.epochs[3] not in found
    assert math.isclose(found[int(made.epochs[4])], made.gradient_mean[0, 4, 0] / std[0, 4, 0], rel_tol=1e-6)
    absent: Any = None
    bare = dataclasses.replace(made, train_accuracy=absent, test_loss=absent, gradient_mean=absent)
    ibjax.write_tensorboard(bare, tmp_path / "b")
    values, _ = curves(tmp_path / "b")
    assert {tag.partition("/")[0] if "/h" in tag or "/out" in tag else tag for tag in values} == {
        "loss/train",
        "accuracy/test",
        "i_xt",
        "i_ty",
    }


def test_a_folder_of_pieces_is_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    monkeypatch.setattr("time.time", lambda: 1e9)
    config = ibjax.Config(seeds=5, epochs=4, logged_epochs=3, hidden_widths=(3, 2), train_fraction=0.5)
    whole = ibjax.run(config)
    for name, seeds in {"one": [0, 1], "two": [2, 3, 4]}.items():
        part = whole.of_seeds(seeds)
        part.save(tmp_path / f"{name}.npz")
    ibjax.write_tensorboard(whole, tmp_path / "whole", networks=True)

    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
    class InPieces(ibjax.Trajectory):
        def pieces(self) -> Iterator[ibjax.Trajectory]:
            yield from map(ibjax.load, (tmp_path / "one.npz", tmp_path / "two.npz"))

    fields = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    ibjax.write_tensorboard(InPieces(**fields), tmp_path / "pieces", networks=True)
    for name in (".", *(f"seed_{seed}" for seed in range(5))):
        (a, told), (b, told_b) = curves(tmp_path / "whole" / name), curves(tmp_path / "pieces" / name)
        assert told == told_b
        assert a.keys() == b.keys()
        for tag in a:
            np.testing.assert_allclose(list(a[tag].values()), list(b[tag].values()), rtol=1e-6)


def test_tensorboard_reads_it(run: ibjax.Trajectory, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ibjax.write_tensorboard(run, tmp_path)
    read = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert sorted(read.Tags()["scalars"]) == sorted(curves(tmp_path)[0])
    found = {event.step: event.value for event in read.Scalars("i_xt/h2")}
    check(found, run.epochs, run.i_xt[run.healthy, :, 1].mean(axis=0, dtype=np.float64))
    assert "kde" in read.SummaryMetadata("i_xt_kde/h2").summary_description


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboardX")
    monkeypatch.chdir(tmp_path)
    made = synthetic_trajectory(seeds=2)
    Path("folder").mkdir()
    for name in ("tanh.npz", "relu.npz", "folder/relu.npz"):
        made.save(name)
    assert main(["tensorboard", "tanh.npz", "relu.npz"]) == 0
    assert capsys.readouterr().out.split() == ["tensorboard/tanh", "tensorboard/relu"]
    before = Path("tensorboard", "tanh", EVENTS).read_bytes()
    assert main(["tensorboard", "tanh.npz"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("tensorboard", "tanh", EVENTS).read_bytes() == before
    assert main(["tensorboard", "tanh.npz", "--force", "--networks"]) == 0
    assert curves(Path("tensorboard", "tanh", "seed_1"))[0].keys() == curves(Path("tensorboard", "relu"))[0].keys()
    assert main(["tensorboard", "relu.npz", "folder/relu.npz", "--out", "new"]) == 2
    assert "'relu' more than once" in capsys.readouterr().err
    assert main(["tensorboard", "tanh.npz", "absent.npz", "--out", "new"]) == 2
    assert not Path("new").exists()
    assert main(["tensorboard", "tanh.npz", "--out", "relu.npz"]) == 2
    assert "cannot be made a folder" in capsys.readouterr().err


def test_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.chdir(tmp_path)
    made = synthetic_trajectory(seeds=2)
    made.save("run.npz")
    assert main(["tensorboard", "run.npz"]) == 2
    assert "pip install 'ibjax[tensorboard]'" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError, match="tensorboardX"):
        ibjax.write_tensorboard(made, "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_what_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    made: Any = synthetic_trajectory(seeds=2)
    with pytest.raises(TypeError, match="allowed: a Trajectory"):
        ibjax.write_tensorboard({"run": made}, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="networks = 1"):
        ibjax.write_tensorboard(made, tmp_path, networks=1)  # type: ignore[arg-type]
    ibjax.write_tensorboard(made, tmp_path)
    with pytest.raises(FileExistsError):
        ibjax.write_tensorboard(made, tmp_path, overwrite=False)
