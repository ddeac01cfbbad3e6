"""Configuration: the presets, the logged epochs, and a table of bad input for every public function that takes data."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ibjax.config import Config, field_rows
from ibjax.data import Dataset, spherical_dataset
from ibjax.information.estimator import ESTIMATORS, make, of_specification, specification
from ibjax.information.histogram import layer_information
from ibjax.presets import PRESETS

X = np.eye(4)
Y = np.array([0.0, 1.0, 0.5, 1.0])
A = np.zeros((4, 2), np.float32)


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[1] = value
    return changed


def adam(**arguments: Any) -> Config:
    return Config(optimizer="adam", **arguments)


def data(**arguments: Any) -> Dataset:
    return Dataset(**({"inputs": X, "p_y_given_x": Y} | arguments))


def measured(**arguments: Any) -> Any:
    return layer_information(**({"activations": A, "p_y_given_x": Y} | arguments))


Case = tuple[Callable[..., Any], str, Any, type[Exception], str, str]

# Function, argument, its value; then the exception, how the message shows the value, and what it allows.
BAD: list[Case] = [
    (Config, "dataset", "sphericl", ValueError, "'sphericl'", "did you mean 'spherical'?"),
    (Config, "dataset", "varu", ValueError, "'varu'", "did you mean 'var_u'?"),
    (Config, "dataset", 3, TypeError, "3", "'regular_90'"),
    (Config, "dataset", None, TypeError, "None", "'var_u'"),
    (Config, "seeds", 0, ValueError, "0", "from 1"),
    (Config, "seeds", -1, ValueError, "-1", "from 1"),
    (Config, "seeds", (), ValueError, "empty", "at least one"),
    (Config, "seeds", (1, 2, 1), ValueError, "1", "at most once"),
    (Config, "seeds", (0, -4), ValueError, "-4", "from 0"),
    (Config, "seeds", (2**32,), ValueError, str(2**32), str(2**32 - 1)),
    (Config, "seeds", 2.5, TypeError, "2.5", "an integer"),
    (Config, "seeds", True, TypeError, "True", "an integer"),
    (Config, "seeds", "3", TypeError, "'3'", "integers"),
    (Config, "seeds", (1.0,), TypeError, "1.0", "an integer"),
    (Config, "seeds", None, TypeError, "None", "an integer"),
    (Config, "epochs", -1, ValueError, "-1", "from 0"),
    (Config, "phases", "sgd", TypeError, "'sgd'", "a tuple of ibjax.Phase"),
    (Config, "phases", ("sgd:until=5",), ValueError, "'sgd:until=5'", "none, as the run ends it"),
    (Config, "epochs", 1e4, TypeError, "10000.0", "an integer"),
    (Config, "epochs", math.nan, TypeError, "nan", "an integer"),
    (Config, "logged_epochs", 0, ValueError, "0", "from 1"),
    (Config, "logged_epochs", (), ValueError, "empty", "at least one"),
    (Config, "logged_epochs", (0, 10_001), ValueError, "10001", "to 10000"),
    (Config, "logged_epochs", (-1, 5), ValueError, "-1", "from 0"),
    (Config, "logged_epochs", (5, 5), ValueError, "5", "at most once"),
    (Config, "logged_epochs", (5, 1), ValueError, "(5, 1)", "increasing"),
    (Config, "logged_epochs", "all", TypeError, "'all'", "integers"),
    (Config, "logged_epochs", False, TypeError, "False", "an integer"),
    (Config, "hidden_widths", (), ValueError, "empty", "at least one"),
    (Config, "hidden_widths", (10, 0), ValueError, "0", "from 1"),
    (Config, "hidden_widths", (-3,), ValueError, "-3", "from 1"),
    (Config, "hidden_widths", 10, TypeError, "10", "a tuple of integers"),
    (Config, "hidden_widths", "10-7", TypeError, "'10-7'", "a tuple of integers"),
    (Config, "hidden_widths", (10, 2.0), TypeError, "2.0", "an integer"),
    (Config, "hidden_widths", (10**9,), ValueError, "1000000000", "to 65536"),
    (Config, "activation", "tahn", ValueError, "'tahn'", "did you mean 'tanh'?"),
    (Config, "activation", "Relu", ValueError, "'Relu'", "did you mean 'relu'?"),
    (Config, "activation", math.tanh, TypeError, "tanh", "'softplus'"),
    (Config, "output", "sigmoids", ValueError, "'sigmoids'", "did you mean 'sigmoid'?"),
    (Config, "output", "", ValueError, "''", "'softmax'"),
    (Config, "train_fraction", 0, ValueError, "0", "more than 0 and at most 1"),
    (Config, "train_fraction", 1.5, ValueError, "1.5", "more than 0 and at most 1"),
    (Config, "train_fraction", -0.1, ValueError, "-0.1", "more than 0"),
    (Config, "train_fraction", math.nan, ValueError, "nan", "finite"),
    (Config, "train_fraction", "85%", TypeError, "'85%'", "number"),
    (Config, "train_fraction", None, TypeError, "None", "number"),
    (Config, "train_fraction", 0.5 + 0j, TypeError, "(0.5+0j)", "number"),
    (Config, "split", "orderd", ValueError, "'orderd'", "did you mean 'ordered'?"),
    (Config, "split", ("random",), TypeError, "('random',)", "'ordered'"),
    (Config, "batch_size", 0, ValueError, "0", "from 1"),
    (Config, "batch_size", -256, ValueError, "-256", "from 1"),
    (Config, "batch_size", 32.0, TypeError, "32.0", "an integer"),
    (Config, "shuffle", "yes", TypeError, "'yes'", "True or False"),
    (Config, "shuffle", 1, TypeError, "1", "True or False"),
    (Config, "store_weights", "no", TypeError, "'no'", "True or False"),
    (Config, "estimators", ("kde", "kd"), ValueError, "estimators[1] = 'kd'", "did you mean 'kde'?"),
    (Config, "estimators", "kde", TypeError, "'kde'", "a tuple"),
    (Config, "estimators", (3,), TypeError, "estimators[0] = 3", "histogram"),
    (Config, "estimators", ("kde:noise_varianse=1",), ValueError, "'noise_varianse'", "'noise_variance'?"),
    (Config, "estimators", {"kde": {"noise_variance": -1}}, ValueError, "noise_variance = -1", "1e-30"),
    (Config, "estimators", {"kde": {"lower": True}}, ValueError, "'lower'", "'noise_variance'"),
    (Config, "estimators", ("noisy:samples=2.5",), ValueError, "samples = '2.5'", "'noisy:samples=2.5'"),
    (Config, "estimators", ("quantile:distinct=True",), ValueError, "distinct = 'True'", "true or false"),
    (Config, "estimators", ("noisy:samples=2:samples=3",), ValueError, "samples more than once", "at most once"),
    (Config, "estimators", {"kde": None}, TypeError, "options of 'kde' = None", "a mapping"),
    (Config, "estimators", {"kde": {1: 2}}, TypeError, "options of 'kde' = {1: 2}", "a mapping"),
    (Config, "estimators", {"kde": {"name": "x"}}, ValueError, "'name'", "'noise_variance'"),
    (Config, "estimators", ("noisy:samples",), ValueError, "'samples'", "noisy:OPTION=VALUE"),
    (Config, "estimators", {"histogram": {"bins": 5}}, ValueError, "'histogram:bins=5'", "the fields bins"),
    (Config, "estimators", ("kde", "kde:noise_variance=1"), ValueError, "'kde'", "once"),
    (Config, "estimators", ("kde", "kde"), ValueError, "'kde'", "once"),
    (Config, "optimizer", "adamw", ValueError, "'adamw'", "did you mean 'adam'?"),
    (Config, "optimizer", "SGD", ValueError, "'SGD'", "'sgd'"),
    (Config, "learning_rate", 0.0, ValueError, "0", "more than 0"),
    (Config, "learning_rate", -0.1, ValueError, "-0.1", "more than 0"),
    (Config, "learning_rate", math.inf, ValueError, "inf", "finite"),
    (Config, "learning_rate", True, TypeError, "True", "number"),
    (Config, "learning_rate", [0.1], ValueError, "1 numbers for 50 seeds", "one a seed"),
    (Config, "learning_rate", (), ValueError, "0 numbers for 50 seeds", "one a seed"),
    (Config, "learning_rate", (0.1,) * 49 + (0,), ValueError, "learning_rate[49] = 0", "more than 0"),
    (Config, "train_fraction", (0.5,) * 49 + (1.5,), ValueError, "train_fraction[49] = 1.5", "at most 1"),
    (Config, "train_fraction", (0.5,) * 49 + ("x",), TypeError, "train_fraction[49] = 'x'", "number"),
    (Config, "noise", -0.1, ValueError, "-0.1", "at least 0"),
    (Config, "noise", math.nan, ValueError, "nan", "finite"),
    (Config, "noise", "0.1", TypeError, "'0.1'", "number"),
    (Config, "momentum", -0.1, ValueError, "-0.1", "from 0 to 1"),
    (Config, "momentum", (0.9,), TypeError, "(0.9,)", "from 0 to 1"),
    (adam, "momentum", 0.9, ValueError, "0.9", "optimizer = 'adam'"),
    (Config, "weight_decay", -0.1, ValueError, "-0.1", "at least 0"),
    (Config, "weight_decay", (0.0,) * 49, ValueError, "49 numbers for 50 seeds", "one a seed"),
    (Config, "initial_scale", 0, ValueError, "0", "more than 0"),
    (Config, "initial_scale", (1.0,) * 49 + (-1.0,), ValueError, "initial_scale[49] = -1", "more than 0"),
    (Config, "noise", (0.0,) * 51, ValueError, "51 numbers for 50 seeds", "one a seed"),
    (Config, "measure_on", "tset", ValueError, "'tset'", "did you mean 'test'?"),
    (Config, "measure_on", True, TypeError, "True", "'train'"),
    (Config, "learning_rate", 10**400, ValueError, "1000", "finite"),
    (Config, "initializer", "fanin", ValueError, "'fanin'", "did you mean 'fan_in'?"),
    (Config, "bins", 1, ValueError, "1", "from 2"),
    (Config, "bins", 4097, ValueError, "4097", "to 4096"),
    (Config, "bins", 30.0, TypeError, "30.0", "an integer"),
    (Config, "compat", "idnn", ValueError, "'idnn'", "did you mean 'idnns'?"),
    (Config, "compat", True, TypeError, "True", "'idnns'"),
    (Config, "loss", "mse", ValueError, "'mse'", "'mean_squared_error'"),
    (Config, "precision", "float16", ValueError, "'float16'", "did you mean 'float"),
    (Config, "precision", np.float32, TypeError, "float32", "'float64'"),
    (Config, "backend", "fusd", ValueError, "'fusd'", "did you mean 'fused'?"),
    (Config, "backend", None, TypeError, "None", "'auto'"),
    (data, "inputs", np.zeros(4), ValueError, "(4,)", "(N, F)"),
    (data, "inputs", np.zeros((1, 3, 3)), ValueError, "(1, 3, 3)", "(N, ...) with at least 2 patterns"),
    (data, "inputs", np.zeros((1, 3)), ValueError, "(1, 3)", "at least 2 patterns"),
    (data, "inputs", np.zeros((4, 0)), ValueError, "(4, 0)", "1 feature"),
    (data, "inputs", with_value(X, math.nan), ValueError, "1 NaN", "finite"),
    (data, "inputs", with_value(X, math.inf), ValueError, "1 NaN or infinite", "finite"),
    (data, "inputs", [[1, 2], [3]], ValueError, "inhomogeneous", "array of floats"),
    (data, "inputs", [["a"], ["b"]], ValueError, "'a'", "array of floats"),
    (data, "p_y_given_x", Y[:3], ValueError, "(3,)", "(4,)"),
    (data, "p_y_given_x", np.ones((4, 1)), ValueError, "(4, 1)", "C >= 2"),
    (data, "p_y_given_x", np.zeros((4, 2, 2)), ValueError, "(4, 2, 2)", "(4, C)"),
    (data, "p_y_given_x", with_value(Y, math.nan), ValueError, "1 NaN", "finite"),
    (data, "p_y_given_x", with_value(Y, 1.1), ValueError, "1.1", "[0, 1]"),
    (data, "p_y_given_x", with_value(Y, -0.1), ValueError, "-0.1", "[0, 1]"),
    (data, "p_y_given_x", np.full((4, 2), 0.6), ValueError, "1.2", "sum to 1"),
    (data, "p_y_given_x", None, ValueError, "NaN", "finite"),
    (data, "p_x", np.full(3, 1 / 3), ValueError, "(3,)", "(4,)"),
    (data, "p_x", np.full(4, 0.5), ValueError, "2", "sum to 1"),
    (data, "p_x", np.array([1.5, -0.5, 0, 0]), ValueError, "-0.5", "probabilities"),
    (data, "p_x", np.array([math.inf, 0, 0, 0]), ValueError, "1 NaN or infinite", "finite"),
    (measured, "activations", np.zeros(4, np.float32), ValueError, "(4,)", "(..., N, width)"),
    (measured, "activations", np.zeros((4, 0), np.float32), ValueError, "(4, 0)", "at least one"),
    (measured, "activations", np.zeros((4, 2), np.complex64), TypeError, "complex64", "real"),
    (measured, "p_y_given_x", Y[:3], ValueError, "(3,)", "(4,)"),
    (measured, "p_y_given_x", with_value(Y, math.nan), ValueError, "1 NaN", "finite"),
    (measured, "p_y_given_x", with_value(Y, 2.0), ValueError, "2", "[0, 1]"),
    (measured, "p_x", np.full(4, 0.3), ValueError, "1.2", "sum to 1"),
    (measured, "p_x", np.full((4, 1), 0.25), ValueError, "(4, 1)", "(4,)"),
    (measured, "bins", 1, ValueError, "1", "from 2 to 4096"),
    (measured, "bins", 4097, ValueError, "4097", "from 2 to 4096"),
    (measured, "bins", 30.0, TypeError, "30.0", "an integer"),
    (measured, "bins", True, TypeError, "True", "an integer"),
    (measured, "low", 1.0, ValueError, "1", "low < high"),
    (measured, "low", math.nan, ValueError, "nan", "finite"),
    (measured, "low", "0", ValueError, "'0'", "finite number"),
    (measured, "high", -1.0, ValueError, "-1", "low < high"),
    (measured, "high", math.inf, ValueError, "inf", "finite"),
    (measured, "high", -0.99999999999, ValueError, "-1", "low < high"),  # no range at all in float32
    (measured, "high", 1e39, ValueError, "1e+39", "finite"),  # infinite in float32
    (measured, "compat", "idnss", ValueError, "'idnss'", "did you mean 'idnns'?"),
    (spherical_dataset, "name", "regular90", ValueError, "'regular90'", "did you mean 'regular_90'?"),
    (spherical_dataset, "name", "mnist", ValueError, "'mnist'", "'spherical'"),
    (spherical_dataset, "name", None, ValueError, "None", "'spherical'"),
    (spherical_dataset, "name", ["var_u"], ValueError, "['var_u']", "'spherical'"),
    (spherical_dataset, "information", 0, ValueError, "0", "more than 0"),
    (spherical_dataset, "information", -0.5, ValueError, "-0.5", "more than 0"),
    (spherical_dataset, "information", 1.0, ValueError, "1.0", "less than 0.999157"),
    (spherical_dataset, "information", math.nan, ValueError, "nan", "more than 0"),
    (spherical_dataset, "information", "0.9", ValueError, "'0.9'", "more than 0"),
]


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 50
    fields = {argument for function, argument, *_ in BAD if function is Config}
    assert fields == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize(
    ("function", "argument", "value", "exception", "shown", "allowed"),
    BAD,
    ids=[f"{case[0].__name__}-{case[1]}-{index}" for index, case in enumerate(BAD)],
)
def test_bad_input_is_refused(
    function: Callable[..., Any], argument: str, value: Any, exception: type[Exception], shown: str, allowed: str
) -> None:
    """The message names the argument, the value, and what is allowed."""
    with pytest.raises(exception) as caught:
        function(**{argument: value})
    message = str(caught.value)
    field = "dataset" if function is spherical_dataset and argument == "name" else argument
    assert field in message
    assert shown in message
    assert allowed in message


def test_no_near_match_where_there_is_none() -> None:
    with pytest.raises(ValueError, match=r"allowed: 'tanh', 'relu', 'linear', 'softsign', 'softplus', 'arcsinh'$"):
        Config(activation="xyz")


def test_position_in_a_tuple_is_named() -> None:
    with pytest.raises(ValueError, match=r"hidden_widths\[2\] = 0"):
        Config(hidden_widths=(4, 3, 0))


def test_unknown_field() -> None:
    with pytest.raises(TypeError, match="widths"):
        Config(widths=(3,))  # type: ignore[call-arg]


def test_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        Config("spherical")  # type: ignore[call-arg]


def test_frozen_and_hashable() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.bins = 3  # type: ignore[misc]
    assert hash(config) == hash(Config())
    assert config == Config()
    assert config != Config(bins=31)


def test_replace_checks_again() -> None:
    config = Config(epochs=100, logged_epochs=(0, 50, 100))
    assert dataclasses.replace(config, bins=7).bins == 7
    with pytest.raises(ValueError, match=r"train_fraction = 1\.5"):
        dataclasses.replace(config, train_fraction=1.5)
    with pytest.raises(ValueError, match=r"logged_epochs.* = 100; .*to 80"):
        dataclasses.replace(config, epochs=80)
    with pytest.raises(TypeError):
        PRESETS["paper"] = config  # type: ignore[index]


def test_numbers_of_numpy_become_plain() -> None:
    config = Config(
        seeds=np.array([4, 2]),  # type: ignore[arg-type]
        epochs=np.int64(9),  # type: ignore[arg-type]
        logged_epochs=np.arange(0, 10, 3),  # type: ignore[arg-type]
        hidden_widths=[np.int32(3), 2],  # type: ignore[arg-type]
        batch_size=np.uint8(5),  # type: ignore[arg-type]
        bins=np.int16(12),  # type: ignore[arg-type]
        train_fraction=np.float32(0.5),  # type: ignore[arg-type]
        learning_rate=1,
    )
    same = Config(
        seeds=(4, 2),
        epochs=9,
        logged_epochs=(0, 3, 6, 9),
        hidden_widths=(3, 2),
        batch_size=5,
        bins=12,
        train_fraction=0.5,
        learning_rate=1.0,
    )
    assert config == same
    for item in dataclasses.astuple(config):
        for value in item if isinstance(item, tuple) else (item,):
            assert type(value) in (int, float, str, bool, type(None))


def test_seeds_by_number_and_by_name() -> None:
    assert Config(seeds=3).seed_list == (0, 1, 2)
    assert Config(seeds=np.array(3)).seed_list == (0, 1, 2)  # type: ignore[arg-type]
    assert Config(seeds=(101, 7)).seed_list == (101, 7)
    assert Config(seeds=range(5, 8)).seed_list == (5, 6, 7)  # type: ignore[arg-type]
    assert Config(seeds=(2**32 - 1,)).seed_list == (2**32 - 1,)


def test_every_field_is_documented_with_its_default_and_what_it_may_hold() -> None:
    rows = {name: (default, text, allowed) for name, default, text, allowed in field_rows()}
    assert list(rows) == [field.name for field in dataclasses.fields(Config)]
    choices = {field.name: field.metadata.get("choices", ()) for field in dataclasses.fields(Config)}
    assert choices["optimizer"] == ("sgd", "adam")
    for name, (default, text, allowed) in rows.items():
        assert default == repr(getattr(Config(), name))
        assert text
        assert all(repr(choice) in allowed for choice in choices[name])
        assert f"  {name}: {text}; allowed: {allowed} (default: {default}).\n" in f"{Config.__doc__}\n"
    assert rows["train_fraction"][2] == "a number more than 0 and at most 1, or a tuple of them, one a seed"
    assert rows["batch_size"][2] == "an integer from 1 to 1000000000, or None"
    assert rows["hidden_widths"][2] == "a tuple of integers from 1 to 65536"
    assert rows["shuffle"][2] == "True or False"


class TestLoggedEpochs:
    @pytest.mark.parametrize(("epochs", "count"), [(10_000, 250), (100, 30), (10_000, 3), (1, 50), (8000, 400)])
    def test_log_spaced_with_both_ends(self, epochs: int, count: int) -> None:
        """Next to the whole number: each logged epoch is within 1/2 of a geometric sequence, and none is missing."""
        logged = Config(epochs=epochs, logged_epochs=count).logged
        assert logged[0] == 0
        assert logged[-1] == epochs
        assert list(logged) == sorted(set(logged))
        assert len(logged) <= count
        points = np.exp(np.linspace(0, math.log(epochs), count - 1))
        apart = np.abs(points[:, None] - np.array(logged)).min(axis=1)
        assert apart.max() <= 0.5 + 1e-9
        assert all(type(epoch) is int for epoch in logged)

    def test_early_epochs_merge_and_late_ones_spread(self) -> None:
        logged = np.array(Config().logged)
        assert len(logged) > 150
        assert np.array_equal(logged[:10], np.arange(10))
        late = logged[logged > 1000]
        ratios = late[1:] / late[:-1]
        assert np.ptp(ratios) < 2e-3  # 10^(4/248) - 1 = 3.8 %, within the rounding of 1/1000

    @pytest.mark.parametrize("count", [1, 2])
    def test_fewer_than_three_are_the_two_ends(self, count: int) -> None:
        assert Config(epochs=500, logged_epochs=count).logged == (0, 500)

    def test_no_epochs(self) -> None:
        assert Config(epochs=0).logged == (0,)
        assert Config(epochs=0, logged_epochs=(0,)).logged == (0,)

    def test_explicit_epochs_are_taken_as_they_are(self) -> None:
        assert Config(epochs=10, logged_epochs=(2, 5)).logged == (2, 5)
        assert Config(epochs=10, logged_epochs=[0, 10]).logged == (0, 10)  # type: ignore[arg-type]

    def test_released_code(self) -> None:
        """unique(int(logspace(log2 1, log2 8000, 400, base 2))) - 1, and the same in plain Python.

        8000^(i/399) is the whole number 20, 400 or 8000 for i = 133, 266, 399, which rounding may leave just below.
        """
        logged = PRESETS["idnns"].logged
        spaced = np.logspace(np.log2(1), np.log2(8000), 400, base=2)
        assert list(logged) == sorted({int(value) - 1 for value in spaced})
        below, above = ({int(8000 ** (i / 399) * scale) - 1 for i in range(400)} for scale in (1 - 1e-12, 1 + 1e-12))
        assert above - {19, 399, 7999} <= set(logged) <= (below | above) - {-1}
        assert logged[0] == 0
        assert logged[-1] in (7998, 7999)

    def test_saxe(self) -> None:
        expected = [
            e
            for e in range(10_001)
            if e < 20 or (e < 100 and e % 5 == 0) or (e < 2000 and e % 20 == 0) or (e >= 2000 and e % 100 == 0)
        ]
        assert list(PRESETS["saxe"].logged) == expected


class TestPresets:
    """Every value of the table of what the public codes do."""

    def test_names(self) -> None:
        assert set(PRESETS) == {"paper", "idnns", "saxe", "quick"}
        assert PRESETS["paper"] == Config()

    def test_paper(self) -> None:
        paper = PRESETS["paper"]
        assert (paper.dataset, paper.seeds, paper.epochs) == ("spherical", 50, 10_000)
        assert paper.logged_epochs == 250
        assert paper.hidden_widths == (12, 10, 7, 5, 4, 3, 2)
        assert (paper.activation, paper.output) == ("tanh", "sigmoid")
        assert (paper.train_fraction, paper.split) == (0.85, "random")
        assert (paper.optimizer, paper.initializer) == ("sgd", "fan_in")
        assert (paper.bins, paper.compat) == (30, None)

    def test_idnns(self) -> None:
        idnns = PRESETS["idnns"]
        assert (idnns.dataset, idnns.epochs) == ("var_u", 8000)
        assert idnns.hidden_widths == (10, 7, 5, 4, 3)
        assert (idnns.activation, idnns.output) == ("tanh", "softmax")
        assert (idnns.optimizer, idnns.learning_rate, idnns.batch_size) == ("adam", 4e-4, 512)
        assert idnns.shuffle is False
        assert (idnns.train_fraction, idnns.split) == (0.8, "ordered")
        assert (idnns.initializer, idnns.bins, idnns.compat) == ("fan_in", 30, "idnns")

    def test_idnns_split_is_as_skewed_as_the_released_one(self) -> None:
        labels = spherical_dataset(PRESETS["idnns"].dataset).p_y_given_x
        n = int(0.8 * 4096)
        assert labels[:n].mean() == pytest.approx(0.437, abs=1e-3)  # a pattern more or less for training: 3e-4
        assert labels[n:].mean() == pytest.approx(0.836, abs=1e-3)

    def test_saxe(self) -> None:
        saxe = PRESETS["saxe"]
        assert (saxe.dataset, saxe.epochs) == ("var_u", 10_000)
        assert saxe.hidden_widths == (10, 7, 5, 4, 3)
        assert (saxe.activation, saxe.output) == ("tanh", "softmax")
        assert (saxe.optimizer, saxe.learning_rate, saxe.batch_size) == ("adam", 4e-4, 256)
        assert saxe.shuffle is True
        assert (saxe.train_fraction, saxe.split) == (0.8, "random")
        assert (saxe.initializer, saxe.bins, saxe.compat) == ("fan_out", 30, None)

    def test_quick_is_small(self) -> None:
        quick, paper = PRESETS["quick"], PRESETS["paper"]
        assert len(quick.seed_list) * quick.epochs <= len(paper.seed_list) * paper.epochs / 20
        assert quick.logged[-1] == quick.epochs


def test_a_value_a_seed() -> None:
    config = Config(seeds=(7, 3), learning_rate=np.array([1, 2]), noise=[0, 0.5])  # type: ignore[arg-type]
    assert config.learning_rate == (1.0, 2.0)
    assert config.noise == (0.0, 0.5)
    assert hash(config) == hash(Config(seeds=(7, 3), learning_rate=(1.0, 2.0), noise=(0.0, 0.5)))
    with pytest.raises(ValueError, match="learning_rate holds 2 numbers for 3 seeds"):
        dataclasses.replace(config, seeds=3)


def test_options_of_estimators_however_they_are_written() -> None:
    """As a mapping, in words, or as estimators: the same configuration, which its file can hold."""
    kde, noisy = make("kde", noise_variance=0.1), make("noisy", noise_std=1e-5, samples=16)
    words = ("histogram", "kde:noise_variance=0.1", "noisy:noise_std=1e-05:samples=16", "quantile:distinct=true")
    written = [
        {
            "histogram": {},
            "kde": {"noise_variance": 0.1},
            "noisy": {"samples": 16, "noise_std": 1e-5},
            "quantile": {"distinct": True},
        },
        ("histogram", kde, "noisy:samples=16:noise_std=0.00001", make("quantile", bins=30, distinct=True)),
        words,
    ]
    configs = [Config(estimators=estimators) for estimators in written]  # type: ignore[arg-type]
    assert configs[0].estimators == words
    assert configs[0] == configs[1] == configs[2]
    assert configs[0].further_estimators == (kde, noisy, make("quantile", distinct=True))
    assert Config(estimators={"kde": {"noise_variance": 1e-3}}) == Config(estimators=("kde",))
    for name in ESTIMATORS:
        options: Any = {"histogram": {"bins": 7, "compat": "idnns"}, "quantized": {"bits": 3}}.get(name, {})
        assert of_specification(specification(make(name, **options))) == make(name, **options)
