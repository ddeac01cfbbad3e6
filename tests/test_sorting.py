"""The GPU's way to measure a block, run on the CPU: the same cells exactly, the same numbers up to the order of sums.

How many kernels it takes on a GPU is counted in what XLA compiles for one.

Shapes: W words, M rows, N patterns, U units, L layers, K networks.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from test_histogram import DOUBLE, SINGLE, entropy, first_of_cell, information_of

import ibjax
from ibjax.ensemble.assemble import assemble
from ibjax.ensemble.blocks import lower
from ibjax.ensemble.program import Program
from ibjax.information import histogram, partition
from ibjax.information.apply import information
from ibjax.information.cells import sorting, table, words
from ibjax.training import gradients

pytestmark = pytest.mark.usefixtures("unoptimized")

runs = jax.jit(sorting.runs)
sorted_information = jax.jit(partition.sorted_information)
N = 300  # no power of two
RNG = np.random.default_rng(0)


def colliding_words() -> npt.NDArray[np.uint32]:
    """Different words of two parts that the hash table puts into one slot in every round."""
    factors = [int(f) for f in np.random.default_rng(0).integers(0, 2**31, 2, dtype=np.uint32) * 2 + 1]
    one = RNG.integers(0, 2**32, N, dtype=np.uint32)
    two = [(12345 - int(w) * factors[0]) * pow(factors[1], -1, 2**32) % 2**32 for w in one]
    return np.array([one, two], np.uint32)[:, RNG.integers(0, 50, N)]


WORDS = {
    "one word": RNG.integers(0, 40, (1, 2, N), dtype=np.uint32),
    "two": RNG.integers(0, 9, (2, 3, N), dtype=np.uint32) << 28,
    "three": RNG.integers(0, 4, (3, 2, N), dtype=np.uint32),
    "eleven": RNG.integers(0, 2, (11, 2, N), dtype=np.uint32),
    "all equal": np.full((3, 1, N), 2**32 - 1, np.uint32),
    "all different": RNG.permutation(np.arange(2**32 - N, 2**32, dtype=np.uint32))[None, None],
    "the last of many differs": np.concatenate([np.zeros((166, 1, N)), np.arange(N)[None, None] // 2]).astype(
        np.uint32
    ),
    "colliding hashes": colliding_words()[:, None],
    "one pattern": np.array([[[7]], [[8]]], np.uint32),
}


class TestCells:
    @pytest.mark.parametrize("name", WORDS)
    def test_the_cells_of_the_hash_table(self, name: str) -> None:
        """Exactly, with the patterns of a cell in ascending order; the table is held against `numpy.unique`, too."""
        given = WORDS[name]
        order, first = map(np.asarray, runs(given))
        expected = first_of_cell(given)
        assert np.array_equal(table.representatives([jnp.asarray(given)], 2**64), expected)
        for row in range(given.shape[1]):
            assert first[row, 0]
            cell = order[row][first[row]][np.cumsum(first[row]) - 1]  # its first pattern, at every place
            assert np.array_equal(cell, expected[row][order[row]])
            assert np.array_equal(np.sort(order[row]), np.arange(given.shape[2]))

    def test_65_536_patterns(self) -> None:
        given = np.random.default_rng(1).integers(0, 150, (3, 1, 2**16), dtype=np.uint32)
        order, first = map(np.asarray, runs(given))
        assert first.sum() == len(np.unique(given[:, 0], axis=1).T)
        assert np.array_equal(first[0, 1:], (np.diff(given[:, 0, order[0]].astype(int)) != 0).any(axis=0))

    @pytest.mark.parametrize(("n", "sorts"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (167, 8)])
    def test_number_of_sorts(self, n: int, sorts: int) -> None:
        traced = str(jax.make_jaxpr(sorting.runs)(jnp.zeros((n, 1, 4), jnp.uint32)))
        assert traced.count(" sort[") == sorts == sorting.n_sorts(n)

    @pytest.mark.parametrize(("base", "widths"), [(30, (12, 7, 1)), (2, (33, 3)), (4096, (5,)), (65_536, (2, 3))])
    def test_layers_are_packed_as_one_by_one(self, base: int, widths: tuple[int, ...]) -> None:
        """Of each layer those patterns are told apart that `pack` tells apart."""
        codes = np.random.default_rng(base).integers(0, base, (sum(widths), 50))
        got = np.asarray(words.pack_layers(jnp.asarray(codes), widths, base))
        for row, part in zip(got.swapaxes(0, 1), np.split(codes, np.cumsum(widths)[:-1]), strict=True):
            one = np.concatenate(words.pack(jnp.asarray(part[:, None]), base))[:, 0]
            assert np.array_equal(first_of_cell(row[:, None]), first_of_cell(one[:, None]))


def weights(n: int) -> npt.NDArray[Any]:
    """Of very different sizes, a tenth of them nothing."""
    p = np.random.default_rng(n).dirichlet(np.full(n, 0.3))
    p[::10] = 0
    return p / p.sum()


class TestInformation:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(("classes", "weighted"), [(1, False), (3, True)])
    @pytest.mark.parametrize("name", ["two", "three", "all equal", "all different", "colliding hashes", "one pattern"])
    def test_against_numpy(self, name: str, classes: int, weighted: bool, dtype: str) -> None:
        given = WORDS[name]
        n, kind = given.shape[2], jnp.dtype(dtype)
        rng = np.random.default_rng(classes)
        p_y = rng.random(n) if classes == 1 else rng.dirichlet(np.full(classes, 0.2), n)
        p_x = weights(n) if weighted and n > 1 else None
        with jax.enable_x64(dtype == "float64"):
            of = partition.channels(jnp.asarray(p_y, kind), None if p_x is None else jnp.asarray(p_x, kind), kind)
            got = np.transpose(sorted_information(given, of))
        expected = [information_of(given[:, row].T, p_y, p_x) for row in range(given.shape[1])]
        np.testing.assert_allclose(got, expected, rtol=0, atol=SINGLE if dtype == "float32" else DOUBLE)

    def test_hard_labels_leave_no_rounding(self) -> None:
        """All sums are whole: every bit that the cells hold of the label, to the last digit."""
        given = np.arange(256, dtype=np.uint32)[None, None] // 4
        of = partition.channels(jnp.asarray(np.arange(256) // 128, jnp.float32), None, jnp.dtype("float32"))
        assert np.array_equal(sorted_information(given, of), [[6], [1]])

    def test_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A few networks at a time, the last time fewer, with channels of their own; in parts or not, to the bit."""
        rng = np.random.default_rng(2)
        given = jnp.asarray(rng.integers(0, 5, (7, 2, 3, 64), dtype=np.uint32))
        of = partition.channels_per_network(
            jnp.asarray(rng.random(64), jnp.float32),
            jnp.asarray(rng.random((7, 64)), jnp.float32),
            jnp.dtype("float32"),
        )
        found = []
        for at_once in (1, 3 * 64, 10**9):
            monkeypatch.setattr(partition, "_AT_ONCE", at_once)
            in_parts = lambda given, of: partition.over_networks(partition.sorted_information, given, of, 64)  # noqa: E731
            found.append(jax.jit(in_parts)(given, of))
        for network in range(7):
            own = partition.Channels(of.coarse[:, network], of.fine[:, network], of.scale[network])
            found.append([part[None] for part in sorted_information(given[network], own)])
        for one, other in ((found[0], found[2]), (found[1], found[2])):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(np.concatenate(found[3:], axis=1), found[2], rtol=0, atol=1e-6)

    def test_bounded_memory(self) -> None:
        """All layers and seeds of the paper, with 65,536 patterns: 512 MB of words, and not much more than those."""
        shape = jax.ShapeDtypeStruct((128, 2, 8, 65_536), np.uint32)
        of = jax.eval_shape(lambda p: partition.channels(p, None, p.dtype), jnp.zeros(65_536))
        way = lambda given, of: partition.over_networks(partition.sorted_information, given, of, given[0].size)  # noqa: E731
        analysis: Any = jax.jit(way).lower(shape, of).compile().memory_analysis()
        assert analysis.temp_size_in_bytes < 3e9


LAYERS = [(40, True), (3, False), (1, True), (12, True), (9, False)]  # units, bounded: one to seven words of 30 codes


@pytest.mark.parametrize("compat", [None, "idnns"])
@pytest.mark.parametrize("per_network", [False, True])
def test_all_layers_as_layer_by_layer(per_network: bool, compat: str | None) -> None:
    rng = np.random.default_rng(3)
    layers = [np.tanh(rng.normal(size=(u, 4, N))).astype(np.float32) * (1 if b else 3) for u, b in LAYERS]
    layers[1][:, 3] = 0.5  # without any range
    layers[3][2, 1, 5] = np.nan
    layers[4][0, 2, 7] = np.inf
    p_y, dtype = jnp.asarray(rng.random(N), jnp.float32), jnp.dtype("float32")
    of = partition.channels(p_y, None, dtype)
    if per_network:
        of = partition.channels_per_network(p_y, jnp.asarray(rng.integers(0, 2, (4, N)), jnp.float32), dtype)
    ways = (
        functools.partial(way, bounded=[b for _, b in LAYERS], bins=30, compat=compat)
        for way in (histogram.all_layers, histogram.layer_by_layer)
    )
    ours, theirs = (list(map(np.array, jax.jit(way)(layers, of))) for way in ways)
    assert np.isnan(theirs[0]).sum() == 2
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=SINGLE)
    for one, other in zip(ours[2:], theirs[2:], strict=True):
        one[2, 4] = other[2, 4] = 0  # of activations that are not finite the ends mean nothing
        np.testing.assert_array_equal(one, other)


X = np.random.default_rng(4).normal(size=(90, 4))
TASK = ibjax.Dataset(X, 1 / (1 + np.exp(-2 * X[:, 0] * X[:, 1])))
CASES: dict[str, dict[str, Any]] = {
    "tanh": {},
    "relu": {"activation": "relu"},
    "of the test patterns": {"measure_on": "test"},
    "no test patterns": {"measure_on": "train", "train_fraction": 1.0},
    "float64": {"precision": "float64"},
}


def program_of(case: str) -> Program:
    config = ibjax.Config(seeds=3, hidden_widths=(20, 6, 3), batch_size=16, epochs=2, **CASES[case])
    return assemble(config, dataset=TASK)


@pytest.mark.parametrize("case", CASES)
def test_a_block_is_measured_as_on_a_cpu(case: str) -> None:
    program = program_of(case)
    with jax.enable_x64(case == "float64"):
        inputs, conditional = jnp.asarray(program.inputs), jnp.asarray(program.conditional)
        sample, state = jax.jit(program.start)(jnp.arange(3, dtype=jnp.uint32), inputs, conditional)
        moments = gradients.GradientMoments(jnp.full(3, 2.0), state.params * 0.5, state.params**2)
        ours, theirs = (
            jax.jit(program.on(platform).measure)(sample, state, moments, inputs, conditional)
            for platform in ("gpu", "cpu")
        )
    tolerance = DOUBLE if case == "float64" else SINGLE
    for name, one, other in zip(ours._fields, ours, theirs, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), name
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)
    assert np.asarray(theirs.i_xt).max() > 2


def test_places_of_the_parameters() -> None:
    model = program_of("tanh").model
    tree = model.unravel(jnp.arange(model.n_params, dtype=jnp.float32))
    jax.tree.map(np.testing.assert_array_equal, tree, model.places)


def test_no_loop_waits_for_data_on_a_gpu() -> None:
    """Measured for a GPU a block needs no loop at all, and one sort of each group of widths; a CPU has no sort."""
    program, device = program_of("tanh"), jax.devices()[0]
    on_cpu = lower(program, 3, device, train=False)["measure"].as_text()
    assert "stablehlo.while" in on_cpu
    assert "stablehlo.sort" not in on_cpu
    shapes = jax.eval_shape(program.start, jnp.zeros(3, jnp.uint32), program.inputs, program.conditional)
    moments = jax.eval_shape(program.no_moments, shapes[1])
    measure = jax.jit(program.on("cuda").measure)
    traced = measure.trace(*shapes, moments, program.inputs, program.conditional)
    on_gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.while" not in on_gpu
    # 20 units of 30 bins are four words, two of which are sorted first; 6, 3 and 1 are one.
    assert on_gpu.count("stablehlo.sort") == 3


@pytest.mark.parametrize("name", ["histogram", "adaptive_unit", "quantized"])
def test_other_estimators_have_no_loop_that_waits_for_data_either(name: str) -> None:
    """They measure networks a few at a time, in a loop of known length."""
    function = jax.jit(lambda a, p: information(name, a, p))
    shapes = jax.ShapeDtypeStruct((4, 50, 3), np.float32), jax.ShapeDtypeStruct((50,), np.float32)
    loops = {
        platform: function.trace(*shapes).lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")
        for platform in ("cpu", "cuda")
    }
    assert loops["cuda"] == loops["cpu"] - 1


def test_entropy_of_one_cell_a_pattern() -> None:
    """4096 patterns, all apart: log2 N, where running sums are largest beside what they are the difference of."""
    given = np.random.default_rng(5).permutation(4096).astype(np.uint32)[None, None]
    p_y = np.random.default_rng(6).random(4096)
    of = partition.channels(jnp.asarray(p_y, jnp.float32), None, jnp.dtype("float32"))
    i_xt, i_ty = map(float, np.ravel(sorted_information(given, of)))
    h_y = entropy(np.array([p_y.mean(), 1 - p_y.mean()]))
    of_each = np.mean([entropy(np.array([p, 1 - p])) for p in p_y])
    assert i_xt == pytest.approx(12, abs=1e-6)
    assert i_ty == pytest.approx(h_y - of_each, abs=2e-6)
