"""`ibjax.measure` and `Config(estimators=...)`: the run's own numbers to the bit, an independent truth, refusals."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ibjax
from ibjax import Config, Dataset, Trajectory
from ibjax.cli.main import main
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.measurement import Measurement
from ibjax.ensemble.remeasure import weight_bytes
from ibjax.information.estimator import ESTIMATORS, Estimator, Information, LayerBatch, estimator_class
from ibjax.npz import Archive, write_arrays
from ibjax.training.trainer import Sample

TINY = Config(seeds=2, epochs=4, logged_epochs=(0, 1, 4), hidden_widths=(3,), batch_size=16, store_weights=True)
LAYERS = ("hidden_1", "output")


def toy_dataset(rows: int = 64) -> Dataset:
    """Patterns of six bits, labelled by whether most of them are set."""
    inputs = np.array([[i >> k & 1 for k in range(6)] for i in range(rows)], float)
    return Dataset(inputs, (inputs.sum(axis=1) > 3).astype(float))


@pytest.fixture(scope="module")
def stored() -> Trajectory:
    """Thirteen seeds, so two blocks of which one is not full; two further estimators, of which one is random."""
    config = replace(TINY, seeds=13, estimators=("kde", "histogram", "noisy"))
    return ibjax.run(config, dataset=toy_dataset())


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "tanh", "hidden_widths": (4, 3)},
        {"activation": "relu", "precision": "float64", "compat": "idnns", "bins": 12, "output": "softmax"},
    ],
    ids=["tanh", "relu in float64"],
)
def test_the_runs_own_estimator_gives_the_runs_numbers(changes: dict[str, Any]) -> None:
    """To the bit, on the task of 4096 patterns and two blocks, for seeds in any order."""
    traj = ibjax.run(replace(TINY, seeds=12, batch_size=256, **changes)).of_seeds([11, *range(3, 11), 0, 1, 2])
    again = ibjax.measure(traj)
    assert again.differences(traj) == {}
    assert ("range_low" in traj.extras) == (changes["activation"] == "relu")
    measured = again.config["measured"]
    assert measured["estimator"] == "histogram"
    assert measured["options"] == {"low": None, "high": None, "compat": None, "bins": 30} | {
        key: value for key, value in changes.items() if key in ("bins", "compat")
    }


def test_estimators_of_a_run_leave_its_numbers_alone(stored: Trajectory) -> None:
    """And a seed has the same estimates, random ones too, whatever is measured beside it."""
    plain = ibjax.run(replace(TINY, seeds=13), dataset=toy_dataset())
    found = stored.differences(plain)
    further = {f"i_{v}{e}" for v in ("xt", "ty") for e in ("_kde", "_noisy", "_error_noisy")}
    assert set(found) == further
    alone = ibjax.run(replace(TINY, seeds=(12,), estimators=("kde", "noisy")), dataset=toy_dataset())
    assert alone.differences(stored.of_seeds([12])) == {}


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
def test_further_estimators_on_a_part_in_order(part: str, weighted: bool) -> None:
    """The estimator applied to the patterns of the part alone, with activations made from the stored weights."""
    p_x = np.random.default_rng(6).dirichlet(np.ones(64)) if weighted else None
    toy = replace(toy_dataset(), p_x=p_x)
    config = replace(TINY, split="ordered", train_fraction=0.625, measure_on=part, estimators=("kde", "edge"))
    traj = ibjax.run(config, dataset=toy)
    chosen = slice(40) if part == "train" else slice(40, None)
    weight = None if p_x is None else p_x[chosen] / p_x[chosen].sum()
    for seed in range(2):
        a = toy.inputs[chosen].astype(np.float32)
        a = np.tanh(a @ traj.extras["weights_hidden_1"][seed, -1] + traj.extras["biases_hidden_1"][seed, -1])
        of_kde = ibjax.kde_information(a, toy.p_y_given_x[chosen], p_x=weight)
        of_edge = ibjax.edge_information(a, toy.p_y_given_x[chosen], p_x=weight, inputs=toy.inputs[chosen])
        for name, bits in (("kde", tuple(of_kde)), ("edge", (of_edge.i_xt, of_edge.i_ty))):
            for row, value in zip(("i_xt", "i_ty"), bits[:2], strict=True):
                found = traj.extras[f"{row}_{name}"][seed, -1, 0]
                assert found == pytest.approx(float(value), abs=2e-4)  # float32, 1/(2v) is 500
    again = ibjax.measure(traj, "kde", dataset=toy)
    assert np.array_equal(again.i_xt, traj.extras["i_xt_kde"])


@pytest.mark.parametrize("changes", [{}, {"split": "ordered", "train_fraction": (0.5, 0.75)}])
def test_further_estimators_on_parts_that_differ(changes: dict[str, Any]) -> None:
    config = replace(TINY, measure_on="train", estimators=("kde",), **changes)
    with pytest.raises(ValueError, match="'kde' with measure_on = 'train'; allowed: 'all', or split = 'ordered' with"):
        ibjax.run(config, dataset=toy_dataset())


@pytest.mark.parametrize("name", ["kde", "noisy"])
def test_estimators_of_a_run_are_found_again(stored: Trajectory, name: str, tmp_path: Path) -> None:
    """To the bit, from the file, with its seeds in any order; what they are and their options are told in it."""
    stored = stored.of_seeds([*range(5, 13), *range(5)])
    traj = ibjax.load(stored.save(tmp_path / "run.npz"))
    again = ibjax.measure(traj, name, dataset=toy_dataset())
    for value in ("i_xt", "i_ty"):
        assert np.array_equal(getattr(again, value), stored.extras[f"{value}_{name}"])
        assert (f"{value}_error" in again.extras) == (name == "noisy")
    if name == "noisy":
        assert np.array_equal(again.extras["i_xt_error"], stored.extras["i_xt_error_noisy"])
        assert np.all(stored.extras["i_xt_error_noisy"] >= 0)
    told = stored.config["estimators"]
    assert list(told) == ["histogram", "kde", "noisy"]
    assert told["kde"] == {"i_xt": "upper bound", "i_ty": "estimate", "options": {"noise_variance": 1e-3}}
    measured = again.config["measured"]
    assert {key: measured[key] for key in told[name]} == told[name]
    assert again.config["config"] == stored.config["config"]
    kept = {key: array for key, array in again.extras.items() if key not in ("i_xt_error", "i_ty_error")}
    assert replace(again, i_xt=stored.i_xt, i_ty=stored.i_ty, extras=kept).differences(stored) == {}
    if name == "noisy":
        back = ibjax.measure(ibjax.load(again.save(tmp_path / "again.npz")), dataset=toy_dataset())
        assert back.differences(stored) == {}


def test_kernel_bound_of_the_stored_weights(stored: Trajectory) -> None:
    """Against the formula in NumPy: -mean_i log2 mean_j exp(-|a_i - a_j|^2 / 2v), a from the file's weights."""
    again = ibjax.measure(stored, "kde", dataset=toy_dataset(), noise_variance=0.1)
    a = np.broadcast_to(toy_dataset().inputs, (13, 3, 64, 6))
    for layer, name in enumerate(LAYERS):
        weights, biases = (stored.extras[f"{kind}_{name}"].astype(float) for kind in ("weights", "biases"))
        z = a @ weights + biases[:, :, None]
        a = np.tanh(z) if name != "output" else 1 / (1 + np.exp(-z))
        squares = ((a[:, :, :, None] - a[:, :, None]) ** 2).sum(axis=-1)
        expected = -np.log2(np.exp(-squares / 0.2).mean(axis=-1)).mean(axis=-1)
        np.testing.assert_allclose(again.i_xt[:, :, layer], expected, atol=2e-5)  # float32, sums of 64


def test_patterns_that_are_not_equally_likely() -> None:
    """An estimator of a run with p(x) is `kde_information` of the stored weights with the same p(x)."""
    p_x = np.random.default_rng(1).dirichlet(np.full(64, 0.5))
    config = replace(TINY, epochs=0, logged_epochs=(0,), estimators=("kde",))
    traj = ibjax.run(config, dataset=replace(toy_dataset(), p_x=p_x))
    a = np.tanh(toy_dataset().inputs @ traj.extras["weights_hidden_1"][:, 0].astype(float))
    expected = ibjax.kde_information(a.astype(np.float32), toy_dataset().p_y_given_x, p_x=p_x)
    for name, bits in zip(("i_xt_kde", "i_ty_kde"), expected, strict=True):
        np.testing.assert_allclose(traj.extras[name][:, 0, 0], bits, rtol=0, atol=1e-4)


@dataclasses.dataclass(frozen=True)
class Draw(Estimator):
    """Tells a random number of each key."""

    name = "draw"

    def __call__(self, batch: LayerBatch) -> Information:
        drawn = jax.vmap(jax.random.uniform)(batch.keys)
        return Information(drawn, drawn)


def test_every_network_epoch_and_layer_draws_anew() -> None:
    program = assemble(TINY, dataset=toy_dataset())
    measure = jax.jit(Measurement(Draw(), program.model, 64, None))
    nothing = jnp.zeros(0)
    sample = Sample(nothing, nothing, jax.random.split(jax.random.key(0), 3), nothing)
    params, data = jnp.zeros((3, program.model.n_params)), (jnp.asarray(program.inputs), jnp.ones((64, 2)) / 2)
    found = [measure(sample, params, jnp.int32(epoch), *data)[:, 0] for epoch in (0, 1, 10**9)]
    assert np.unique(found).size == 3 * 3 * 2


class Net:
    """A network of one's own: two layers, an activation to choose; the inputs, too, are told as a layer."""

    def __init__(self, act: Any = jnp.tanh, width: int = 3) -> None:
        self.act, self.width = act, width

    def init(self, key: jax.Array, inputs: jax.Array) -> Any:
        one, two = jax.random.split(key)
        first = jax.random.normal(one, (inputs.shape[1], self.width))
        return {"one": first, "out": (jax.random.normal(two, (self.width, 1)), jnp.zeros(1))}

    def apply(self, params: Any, inputs: jax.Array) -> Any:
        a = self.act(inputs @ params["one"])
        logits = a @ params["out"][0] + params["out"][1]
        # Overflows in the seeds whose first weight is negative, once the bias has moved.
        logits *= jnp.where((params["one"][0, 0] < 0) & (params["out"][1][0] != 0), jnp.inf, 1.0)
        return logits, [inputs, a, jax.nn.sigmoid(logits)]


@pytest.fixture(scope="module")
def own() -> Trajectory:
    """A network and an optimizer of one's own; some seeds diverge."""
    with pytest.warns(RuntimeWarning, match=r"[1-5] of 6 networks diverged"):
        return ibjax.run(replace(TINY, seeds=6), dataset=toy_dataset(), network=Net(), optimizer=optax.adam(1e-2))


def test_networks_of_ones_own(own: Trajectory) -> None:
    """Their parameters are one vector each; diverged networks stay NaN in all layers, also in one whose activations are
    finite whatever the weights are; the others are the run's to the bit."""
    assert own.extras["params"].shape == (6, 3, 6 * 3 + 3 + 1)
    assert 0 < own.diverged.sum() < 6
    assert np.isfinite(own.i_xt[:, 0]).all()
    again = ibjax.measure(own, dataset=toy_dataset(), network=Net())
    assert again.differences(own) == {}
    assert np.isnan(again.i_xt[own.diverged, -1]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["dataset = None", "dataset=..."]),
        ({"dataset": toy_dataset()}, ["network = None", "network=..."]),
        ({"dataset": toy_dataset(), "network": Net(width=4)}, ["(6, 4, 1)", "(6, 3, 1)", "29 parameters", "22"]),
        ({"dataset": toy_dataset(), "network": Net(jax.nn.relu)}, ["not the one of the run", "other losses"]),
        ({"dataset": toy_dataset(32), "network": Net()}, ["32 patterns", "64"]),
    ],
)
def test_network_and_dataset_are_those_of_the_run(own: Trajectory, arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"network|dataset") as caught:
        ibjax.measure(own, **arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"trajectory": "run.npz"}, TypeError, ["trajectory", "run.npz"]),
        ({"estimator": "kdee"}, ValueError, ["'kdee'", "did you mean 'kde'"]),
        ({"estimator": 3}, TypeError, ["estimator = 3"]),
        ({"estimator": "kde", "noise_varianc": 1.0}, ValueError, ["'noise_varianc'", "'noise_variance'"]),
        ({"estimator": "kde", "noise_variance": -1.0}, ValueError, ["noise_variance = -1"]),
        ({"estimator": "histogram", "bins": 1}, ValueError, ["bins = 1"]),
        ({"progress": "yes"}, TypeError, ["progress = 'yes'"]),
        ({"dataset": 3}, TypeError, ["dataset = 3", "ibjax.Dataset"]),
    ],
)
def test_bad_arguments(stored: Trajectory, arguments: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        ibjax.measure(**{"trajectory": stored, "dataset": toy_dataset(), **arguments})
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_files_that_do_not_hold_enough(stored: Trajectory, trajectory: Trajectory) -> None:
    few = {key: array for key, array in stored.extras.items() if key != "biases_output"}
    with pytest.raises(ValueError, match=r"no 'biases_output'.*store_weights=True.*--store-weights"):
        ibjax.measure(replace(stored, extras=few), dataset=toy_dataset())
    strange = {"config": {**stored.config["config"], "dropout": 0.5}}
    with pytest.raises(ValueError, match="dropout"):
        ibjax.measure(replace(stored, config=strange))
    with pytest.raises(ValueError, match="holds no configuration"):
        ibjax.measure(replace(trajectory, config={}))


def test_a_run_measures_with_the_options_of_its_configuration(stored: Trajectory) -> None:
    """To the bit what `measure` finds with these on the stored weights, and not what the defaults give."""
    estimators: dict[str, dict[str, Any]] = {"kde": {"noise_variance": 0.1}, "noisy": {"noise_std": 0.3, "samples": 2}}
    traj = ibjax.run(replace(TINY, estimators=estimators, store_weights=True), dataset=toy_dataset())
    for name, options in estimators.items():
        measured = ibjax.measure(traj, name, dataset=toy_dataset(), **options)
        np.testing.assert_array_equal(traj.extras[f"i_xt_{name}"], measured.i_xt)
        assert traj.config["estimators"][name]["options"] == measured.config["measured"]["options"]
        assert not np.allclose(measured.i_xt, ibjax.measure(traj, name, dataset=toy_dataset()).i_xt)
    assert list(traj.config["config"]["estimators"]) == ["kde:noise_variance=0.1", "noisy:noise_std=0.3:samples=2"]


def test_a_layer_out_of_reach_is_refused_before_training() -> None:
    config = replace(TINY, hidden_widths=(3, 17), estimators=("knn",))
    with pytest.raises(ValueError, match=r"'knn', layer hidden_2: .*17 units; allowed: at most 16.*'noisy'"):
        ibjax.run(config, dataset=toy_dataset())


def test_weights_are_as_large_as_foretold(stored: Trajectory, own: Trajectory) -> None:
    for traj, network in ((stored, None), (own, Net())):
        size = sum(a.nbytes for key, a in traj.extras.items() if key.startswith(("weights_", "biases_", "params")))
        config = replace(TINY, seeds=traj.seeds.size)
        assert weight_bytes(config, dataset=toy_dataset(), network=network) == size
    # 50 seeds, 187 epochs; 156 + 130 + 77 + 40 + 24 + 15 + 8 + 3 numbers of four bytes
    assert weight_bytes(Config()) == 50 * len(Config().logged) * 453 * 4
    assert weight_bytes(Config(precision="float64")) == 2 * weight_bytes(Config())


def test_weights_are_compressed_where_they_can_be_read_again(
    stored: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(stored.save(tmp_path / "run.npz")) as file:
        deflated = {info.filename for info in file.infolist() if info.compress_type == zipfile.ZIP_DEFLATED}
    assert deflated == {f"{kind}_{layer}.npy" for kind in ("weights", "biases") for layer in LAYERS}
    # What the reader would refuse for its expansion is stored as it is.
    monkeypatch.setattr("ibjax.npz.MAX_EXPANSION", 10_000)
    arrays = {"a": np.zeros(1000), "b": np.zeros(1000), "c": np.zeros(10)}
    path = write_arrays(tmp_path / "zeros.npz", arrays, compressed=arrays)
    with zipfile.ZipFile(path) as file:
        assert [info.compress_type == zipfile.ZIP_DEFLATED for info in file.infolist()] == [True, False, False]
    with Archive(path) as archive:
        assert all(np.array_equal(archive.read(key), arrays[key]) for key in arrays)


def test_other_bins_with_progress_and_an_interrupt(stored: Trajectory) -> None:
    seen: list[tuple[int, int]] = []
    coarse = ibjax.measure(stored, bins=2, dataset=toy_dataset(), progress=lambda *now: seen.append(now))
    assert seen == [(done, 39) for done in range(40)]  # thirteen networks at three epochs
    assert np.all(coarse.i_xt <= np.array(stored.layer_widths))  # a bit a unit
    assert np.all(coarse.i_xt.mean(axis=(0, 1)) < stored.i_xt.mean(axis=(0, 1)))

    class EnoughError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        ibjax.measure(stored, dataset=toy_dataset(), progress=stop)


def test_every_estimator_has_a_key_of_its_own() -> None:
    """No name may be read as the error of another."""
    assert not any(name.startswith("error") for name in ESTIMATORS)
    assert all(name.isidentifier() for name in ESTIMATORS)


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    run = "run --preset quick --seeds 2 --epochs 1 --logged-epochs 0,1 --hidden-widths 2 --out a.npz"
    assert main([*run.split(), "--store-weights", "--estimators", "quantized"]) == 0
    assert "2 networks: about " in capsys.readouterr().out
    traj = ibjax.load("a.npz")
    assert traj.config["estimators"]["quantized"]["options"] == {"bits": 8}

    assert main(["measure", "a.npz", "--estimator", "kde", "--noise-variance", "1e-1"]) == 0
    assert "kde (I(X;T) upper bound, I(T;Y) estimate)" in capsys.readouterr().out
    measured = ibjax.load("a_kde.npz").config["measured"]
    assert measured["options"] == {"noise_variance": 0.1}
    assert ibjax.load("a_kde.npz").extras.keys() == traj.extras.keys()
    assert main(["info", "a_kde.npz"]) == 0
    assert "noise_variance" in capsys.readouterr().out
    assert main(["merge", "a.npz", "a_kde.npz", "--out", "c.npz"]) == 2
    assert "measured" in capsys.readouterr().err

    replace(traj, extras={}).save("none.npz")
    replace(traj, config={**traj.config, "custom": ["network"]}).save("own.npz")
    for words, told in {
        "measure a.npz": ["--estimator"],
        "measure a.npz --estimator": ["--estimator"],
        "measure a.npz --estimator kd": ["'kd'", "did you mean 'kde'"],
        "measure a.npz --estimator kde --out d.npz --noise-variance -1": ["noise_variance", "-1"],
        "measure a.npz --estimator kde --out d.npz --noise-variance x": ["--noise-variance", "'x'", "a number"],
        "measure a.npz --estimator kde --out d.npz --bins 3": ["--bins"],
        "measure a.npz --estimator quantile --distinct maybe": ["--distinct", "true or false"],
        "measure a.npz --estimator kde": ["a_kde.npz", "--force"],
        "measure none.npz --estimator kde": ["--store-weights"],
        "measure own.npz --estimator kde": ["own.npz", "network=..."],
        "measure missing.npz --estimator kde": ["missing.npz"],
        "run --estimators kde,kd": ["estimators", "'kd'", "did you mean 'kde'"],
    }.items():
        assert main(words.split()) == 2, words
        printed = capsys.readouterr().err
        assert all(word in printed for word in told), printed
    assert not Path("d.npz").exists()
    assert main(["measure", "a.npz", "--estimator", "quantile", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(estimator_class("quantile")):
        assert f"--{field.name} X" in text
