"""The data sets against the published facts, an independent formula of the task, and joints worked out by hand.

Shapes: N patterns, F features, C classes.
"""

import hashlib
import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from ibjax.data import DATASETS, Dataset, spherical_dataset
from ibjax.probability import entropy

FloatArray = npt.NDArray[np.float64]

G = (1 + 5**0.5) / 2
# The vertex of every input bit, as published.
# fmt: off
VERTICES = np.array([
    [0, -1, -G], [-1, -G, 0], [0, -1, G], [1, -G, 0], [-G, 0, 1], [0, 1, -G],
    [-1, G, 0], [1, G, 0], [G, 0, 1], [0, 1, G], [G, 0, -1], [-G, 0, -1],
]) / (1 + G * G) ** 0.5
# fmt: on
BITS = np.array(list(itertools.product([0.0, 1.0], repeat=12)))  # counting order, most significant bit first


def harmonic_norms(order: int) -> FloatArray:
    """|a_l| (4096,) from the spherical harmonics themselves, a_lm = (4 pi / 12) sum_i x_i Y_lm(v_i)."""
    polar, azimuth = np.arccos(VERTICES[:, 2]), np.arctan2(VERTICES[:, 1], VERTICES[:, 0])
    y = np.array([special.sph_harm_y(order, m, polar, azimuth) for m in range(-order, order + 1)])
    return np.asarray(4 * np.pi / 12 * np.linalg.norm(BITS @ y.T, axis=1))


def feature(weights: tuple[float, ...]) -> FloatArray:
    """f(x), (4096,)."""
    return np.sum([r / (2 * order + 1) * harmonic_norms(order) for order, r in enumerate(weights)], axis=0)


def symmetries() -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Determinant and vertex permutation of each element of the full icosahedral group, found from the vertices.

    An orthogonal map is fixed by the images of three vertices that span space; those that keep the angles of the
    three and send all vertices to vertices are the symmetries.
    """
    gram = VERTICES @ VERTICES.T
    base = [0, 1, int(np.argmax(np.abs(np.linalg.det([[VERTICES[0], VERTICES[1], v] for v in VERTICES]))))]
    found = []
    for image in itertools.permutations(range(12), 3):
        if np.allclose(gram[np.ix_(image, image)], gram[np.ix_(base, base)]):
            rotation = np.linalg.solve(VERTICES[base], VERTICES[list(image)])  # row vectors: v -> v R
            nearest = (VERTICES @ rotation) @ VERTICES.T
            if np.allclose(nearest.max(axis=1), 1):
                found.append((round(np.linalg.det(rotation)), nearest.argmax(axis=1)))
    return found


class TestSphericalTask:
    def test_inputs_are_all_patterns_in_counting_order(self) -> None:
        for name in DATASETS:
            assert np.array_equal(spherical_dataset(name).inputs, BITS)

    def test_hard_labels_are_the_published_ones(self) -> None:
        data = spherical_dataset("var_u")
        labels = data.p_y_given_x
        assert set(np.unique(labels)) == {0.0, 1.0}
        assert labels.sum() == 2118
        digest = hashlib.sha256(np.packbits(labels.astype(np.uint8)).tobytes()).hexdigest()
        assert digest == "371b2b46a5052b4f69f7991ca141fb5afa1ac364ef7beb81ec900eecac2f86d9"
        assert data.h_y == pytest.approx(0.9991571, abs=5e-8)
        assert data.information == pytest.approx(data.h_y, abs=1e-12)  # hard labels: H(Y|X) = 0
        assert data.h_x == pytest.approx(12, abs=1e-12)

    def test_hard_labels_are_the_rule(self) -> None:
        assert np.array_equal(spherical_dataset("var_u").p_y_given_x, feature((1, 2)) > 2.3215)

    def test_soft_rule_of_the_paper(self) -> None:
        data = spherical_dataset()
        p = data.p_y_given_x
        assert data.information == pytest.approx(0.99, abs=1e-9)
        assert p.mean() == pytest.approx(0.51669, abs=5e-6)
        f = feature((1, 2, 0))
        clear = (p > 1e-6) & (p < 1 - 1e-6)
        gains = special.logit(p[clear]) / (f[clear] - 2.3215)
        assert clear.sum() > 100
        # One gain for all patterns: f - theta is 0.003 at least, so rounding of 1e-15 in f and p shows as 1e-10.
        assert np.ptp(gains) < 1e-8
        assert gains.mean() == pytest.approx(127.65, abs=0.005)
        np.testing.assert_allclose(p, special.expit(gains.mean() * (f - 2.3215)), rtol=0, atol=1e-8)

    def test_later_soft_rule_of_the_authors(self) -> None:
        data = spherical_dataset("regular_90")
        np.testing.assert_allclose(
            data.p_y_given_x, special.expit(12 * (feature((2, 5, 4)) - 5.89)), rtol=0, atol=1e-10
        )
        assert data.information == pytest.approx(0.8994828, abs=5e-8)
        assert round(data.information, 4) == 0.8995

    def test_f_takes_64_values(self) -> None:
        """A weak rule shows f itself: logit p = gain (f - theta), nowhere saturated."""
        f = special.logit(spherical_dataset(information=0.01).p_y_given_x)
        assert np.unique(f).size == 64  # equal patterns have equal rows, to the bit
        expected = feature((1, 2))
        assert np.unique(np.round(expected, 6)).size == 64
        slope, intercept = np.polyfit(expected, f, 1)
        np.testing.assert_allclose(f, slope * expected + intercept, rtol=0, atol=1e-10)
        assert -intercept / slope == pytest.approx(2.3215, abs=1e-9)

    @pytest.mark.parametrize("name", DATASETS)
    def test_invariant_under_every_symmetry_of_the_icosahedron(self, name: str) -> None:
        group = symmetries()
        assert len(group) == 120
        assert sum(determinant == 1 for determinant, _ in group) == 60
        p = spherical_dataset(name).p_y_given_x
        place = 1 << np.arange(11, -1, -1)
        images = {
            determinant: np.array([BITS[:, moved] @ place for d, moved in group if d >= determinant]).astype(int)
            for determinant in (1, -1)
        }
        assert np.array_equal(p[images[-1]], np.broadcast_to(p, images[-1].shape))
        # An orbit is named by its least pattern: 96 under rotations, 82 with reflections.
        assert np.unique(images[1].min(axis=0)).size == 96
        assert np.unique(images[-1].min(axis=0)).size == 82

    @pytest.mark.parametrize("name", DATASETS)
    @pytest.mark.parametrize("target", [0.001, 0.3, 0.75])
    def test_information_solves_for_the_gain(self, name: str, target: float) -> None:
        data = spherical_dataset(name, information=target)
        assert data.information == pytest.approx(target, abs=1e-9)
        hard = spherical_dataset(name, information=0.99).p_y_given_x > 0.5
        assert np.array_equal(data.p_y_given_x > 0.5, hard)  # the threshold stays

    def test_nearly_hard_labels_can_be_asked_for(self) -> None:
        assert spherical_dataset(information=0.999).information == pytest.approx(0.999, abs=1e-9)

    def test_information_may_be_a_numpy_number(self) -> None:
        assert spherical_dataset(information=np.float64(0.5)).information == pytest.approx(0.5, abs=1e-9)
        assert spherical_dataset(information=np.float32(0.5)).information == pytest.approx(0.5, abs=1e-9)  # type: ignore[arg-type]


class TestEntropy:
    def test_by_hand(self) -> None:
        assert entropy(np.array([0.5, 0.25, 0.25, 0.0])) == 1.5
        assert entropy(np.array([1.0, 0.0])) == 0.0
        assert entropy(np.array([[0.25, 0.25], [0.5, 0.0]])) == 1.5


class TestDataset:
    def test_binary_symmetric_channel(self) -> None:
        """I = 1 - h(0.11), from the textbook."""
        data = Dataset(np.array([[0.0], [1.0]]), np.array([0.11, 0.89]))
        noise = -0.11 * np.log2(0.11) - 0.89 * np.log2(0.89)
        assert data.information == pytest.approx(1 - noise, abs=1e-12)
        assert data.h_x == pytest.approx(1, abs=1e-12)
        assert data.h_y == pytest.approx(1, abs=1e-12)
        assert (data.n_patterns, data.n_features, data.n_classes) == (2, 1, 2)

    def test_class_ids(self) -> None:
        """Integers beyond 0 and 1 name classes; 0 and 1 are p(y=1|x), which says the same."""
        inputs = np.eye(4)
        named, rows = Dataset(inputs, np.array([7, -1, 3, 7])), Dataset(inputs, np.eye(3)[[2, 0, 1, 2]])
        assert np.array_equal(named.p_y_given_x, rows.p_y_given_x)
        assert named.information == 1.5
        assert Dataset(inputs, np.array([0, 1, 1, 0])).p_y_given_x.shape == (4,)

    def test_classes_and_unequal_patterns_by_hand(self) -> None:
        """X in {1/2, 1/4, 1/4}; Y = X but for the last, which says the second half the time: H(Y|X) = 1/4 bit."""
        data = Dataset(
            np.arange(3.0)[:, None], np.array([[1, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]), np.array([0.5, 0.25, 0.25])
        )
        h_y = 0.5 * 1 + 0.375 * np.log2(1 / 0.375) + 0.125 * 3
        assert data.n_classes == 3
        assert data.h_x == pytest.approx(1.5, abs=1e-12)
        assert data.h_y == pytest.approx(h_y, abs=1e-12)
        assert data.information == pytest.approx(h_y - 0.25, abs=1e-12)
        assert data.joint.tolist() == [[0.5, 0, 0], [0, 0.25, 0], [0, 0.125, 0.125]]
        assert data.marginal.tolist() == [0.5, 0.25, 0.25]

    def test_vector_and_two_columns_are_the_same(self) -> None:
        p = np.array([0.25, 1.0, 0.5])
        one, two = Dataset(np.eye(3), p), Dataset(np.eye(3), np.stack([1 - p, p], axis=1))
        assert np.array_equal(one.conditional, two.conditional)
        assert one.n_classes == two.n_classes == 2
        assert one.information == two.information
        np.testing.assert_array_equal(one.marginal, np.full(3, 1 / 3))

    def test_pattern_that_occurs_twice_is_one_value_of_x(self) -> None:
        """Rows 0 and 2 are one x of probability 1/2 with p(y=1|x) = (0 + 1)/2; the others are 1/4 each, y known."""
        inputs = np.array([[0.0, 1], [1, 1], [0, 1], [1, 0]])
        data = Dataset(inputs, np.array([0.0, 0.0, 1.0, 1.0]))
        assert data.h_x == pytest.approx(1.5, abs=1e-12)
        assert data.h_y == pytest.approx(1, abs=1e-12)
        assert data.information == pytest.approx(1 - 0.5, abs=1e-12)  # H(Y|X) = 1/2 of a fair coin

    def test_merging_repeats_by_hand_changes_nothing(self) -> None:
        rng = np.random.default_rng(3)
        inputs, p, weight = rng.integers(0, 2, (40, 3)).astype(float), rng.dirichlet(np.ones(3), 40), rng.random(40)
        weight /= weight.sum()
        joint: dict[tuple[float, ...], FloatArray] = {}
        for x, row, w in zip(inputs.tolist(), p, weight, strict=True):
            joint[tuple(x)] = joint.get(tuple(x), np.zeros(3)) + w * row
        masses = np.array([row.sum() for row in joint.values()])
        merged = Dataset(np.array(list(joint)), np.array(list(joint.values())) / masses[:, None], masses)
        whole = Dataset(inputs, p, weight)
        assert merged.n_patterns == 8 < whole.n_patterns
        for name in ("information", "h_x", "h_y"):
            assert getattr(whole, name) == pytest.approx(getattr(merged, name), abs=1e-12)

    def test_negative_zero_is_zero(self) -> None:
        assert Dataset(np.array([[0.0], [-0.0], [1.0]]), np.array([0.0, 0, 1])).h_x == pytest.approx(
            np.log2(3) - 2 / 3, abs=1e-12
        )

    def test_lists_and_integers_are_taken(self) -> None:
        data = Dataset([[0, 1], [1, 0]], [0, 1])  # type: ignore[arg-type]
        assert data.inputs.dtype == data.p_y_given_x.dtype == np.float64
        assert data.information == pytest.approx(1, abs=1e-12)

    def test_arrays_are_own_and_cannot_change(self) -> None:
        inputs = np.eye(2)
        data = Dataset(inputs, np.array([0.0, 1.0]))
        inputs[0, 0] = 7
        assert data.inputs[0, 0] == 1
        with pytest.raises(ValueError, match="read-only"):
            data.inputs[0, 0] = 7
        with pytest.raises(AttributeError):
            data.inputs = inputs  # type: ignore[misc]

    def test_probability_zero_patterns_count_for_nothing(self) -> None:
        with_ghost = Dataset(np.arange(3.0)[:, None], np.array([0.0, 1.0, 0.3]), np.array([0.5, 0.5, 0.0]))
        assert with_ghost.h_x == pytest.approx(1, abs=1e-12)
        assert with_ghost.information == pytest.approx(1, abs=1e-12)


class TestImages:
    """Inputs of any rank are the same data set as their flattened rows."""

    rng = np.random.default_rng(8)
    images = rng.integers(0, 2, (60, 4, 4, 1)).astype(float)
    images[40:] = images[:20]  # twenty values of X occur twice
    p_y, p_x = rng.dirichlet(np.ones(3), 60), rng.dirichlet(np.ones(60))
    as_images = Dataset(images, p_y, p_x)
    as_rows = Dataset(images.reshape(60, 16), p_y, p_x)

    def test_shapes(self) -> None:
        assert self.as_images.inputs.shape == (60, 4, 4, 1)
        assert self.as_images.input_shape == (4, 4, 1)
        assert self.as_rows.input_shape == (16,)
        assert self.as_images.n_features == self.as_rows.n_features == 16
        assert self.as_images.n_patterns == 60

    def test_information(self) -> None:
        assert len(np.unique(self.as_rows.inputs, axis=0)) == 40
        for name in ("h_x", "h_y", "information"):
            assert getattr(self.as_images, name) == getattr(self.as_rows, name)
        assert self.as_images.h_x < -(self.p_x * np.log2(self.p_x)).sum() - 0.1

    def test_part_of_the_patterns(self) -> None:
        masks = np.random.default_rng(9).random((4, 60)) < 0.7
        assert np.array_equal(self.as_images.restricted(masks), self.as_rows.restricted(masks))

    def test_random_labels(self) -> None:
        images, rows = (data.with_random_labels(5) for data in (self.as_images, self.as_rows))
        assert images.inputs.shape == (60, 4, 4, 1)
        assert np.array_equal(images.p_y_given_x, rows.p_y_given_x)
        assert np.array_equal(images.p_y_given_x[40:], images.p_y_given_x[:20])

    @pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (4, 4, 0), (0, 4)])
    def test_too_few_axes_patterns_or_features(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"inputs has .*; allowed: \(N, F\) or \(N, \.\.\.\) with at least 2"):
            Dataset(np.zeros(shape), np.zeros(4))


class TestRandomLabels:
    def test_hard_and_of_the_same_classes(self) -> None:
        task = spherical_dataset()
        random = task.with_random_labels(3)
        assert random.p_y_given_x.shape == (4096,)
        assert set(np.unique(random.p_y_given_x)) == {0.0, 1.0}
        assert abs(random.p_y_given_x.mean() - 0.5) < 4 * 0.5 / 64  # four standard errors of 4096 fair coins
        assert abs(np.corrcoef(random.p_y_given_x, task.p_y_given_x)[0, 1]) < 4 / 64
        assert np.array_equal(random.p_y_given_x, task.with_random_labels(3).p_y_given_x)
        assert not np.array_equal(random.p_y_given_x, task.with_random_labels(4).p_y_given_x)

    def test_patterns_that_occur_twice_share_one(self) -> None:
        inputs = np.repeat(np.arange(30.0), 3)[:, None]
        random = Dataset(inputs, np.full((90, 4), 0.25)).with_random_labels(0)
        labels = random.p_y_given_x.argmax(axis=1).reshape(30, 3)
        assert (labels == labels[:, :1]).all()
        assert len(np.unique(labels)) == 4
        assert random.information == pytest.approx(random.h_y, abs=1e-12)


class TestLogOdds:
    """Tasks made of log-odds, whose p(y|x) float64 rounds to 0 and 1."""

    ODDS = np.array([-800.0, -290.0, -1.0, 0.0, 2.0, 60.0, np.inf])

    def test_rows_hold_both_small_probabilities(self) -> None:
        data = Dataset.from_log_odds(np.eye(7), self.ODDS)
        expected = [[1.0 / (1.0 + np.exp(z)) for z in (odds, -odds)] for odds in np.clip(self.ODDS, -700, 700)]
        expected[0], expected[-1] = [1.0, 0.0], [0.0, 1.0]  # e^-800 is below the smallest float64
        np.testing.assert_allclose(data.conditional, expected, rtol=1e-13)
        np.testing.assert_array_equal(data.log_odds, self.ODDS)
        assert data.p_y_given_x.tolist()[:2] == [0.0, 0.0]  # what runs see, and what 1/(1 + e^-z) has no digits for

    def test_the_rest_is_that_of_the_probabilities(self) -> None:
        made = Dataset.from_log_odds(np.eye(7), self.ODDS, np.arange(1, 8) / 28)
        given = Dataset(np.eye(7), made.p_y_given_x, made.p_x)
        assert (made.sha256, made.information, made.h_y) == (given.sha256, given.information, given.h_y)

    def test_derived_from_probabilities(self) -> None:
        rows = np.array([0.0, 0.25, 0.5, 1.0])
        expected = [-np.inf, -np.log(3), 0.0, np.inf]
        for given in (rows, np.stack([1 - rows, rows], axis=1)):
            found = Dataset(np.eye(4), given).log_odds
            assert found is not None
            np.testing.assert_allclose(found, expected, rtol=1e-15)
        assert Dataset(np.eye(3), np.eye(3)).log_odds is None

    @pytest.mark.parametrize("odds", [[0.0, np.nan], [[0.0, 1.0], [1.0, 0.0]]])
    def test_what_is_not_is_named(self, odds: list[float]) -> None:
        with pytest.raises(ValueError, match="log_odds has shape"):
            Dataset.from_log_odds(np.eye(2), odds)


def test_restricted_entropies_are_those_of_the_smaller_set() -> None:
    rng = np.random.default_rng(12)
    inputs = rng.integers(0, 2, (40, 4)).astype(float)  # many patterns twice
    p_x = rng.dirichlet(np.ones(40))
    task = Dataset(inputs, rng.dirichlet(np.ones(3), 40), p_x)
    masks = rng.random((5, 40)) < 0.5
    h_x, i_xy = task.restricted(masks)
    for mask, h, i in zip(masks, h_x, i_xy, strict=True):
        part = Dataset(inputs[mask], task.p_y_given_x[mask], p_x[mask] / p_x[mask].sum())
        assert h == pytest.approx(part.h_x, abs=1e-12)
        assert i == pytest.approx(part.information, abs=1e-12)


def test_a_data_set_tells_what_it_is_in_a_line() -> None:
    data = Dataset(np.eye(4), np.array([0, 1, 0, 1]))
    assert repr(data) == "Dataset(inputs (4, 4), p_y_given_x (4,), I(X;Y) 1 bits)"
    weighted = Dataset.from_targets(np.eye(4), [0.0, 1.0, 2.0, 3.0], bins=2, p_x=np.full(4, 0.25))
    assert "p_x given, targets (4, 1), I(X;Y) 1 bits" in repr(weighted)
