"""The frame of the experiments: statistics with known answers, the protocol, toy runs of every script, the table.

Shapes: S networks, K entries.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import ibjax

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))
common: Any = importlib.import_module("common")
evidence: Any = importlib.import_module("common.evidence")
protocol: Any = importlib.import_module("common.protocol")
claims: Any = importlib.import_module("claims")

pytestmark = pytest.mark.usefixtures("unoptimized")

ONE, EVERY = "one", "every"


def claim(criterion: str, **changes: Any) -> Any:
    words = dict.fromkeys(("experiment", "says", "source", "quantity", "unit", "against"), "x")
    made = {"id": ONE, "group": "plane", "tag": "test", "n": 9, "criterion": protocol.Criterion.of(criterion)}
    return protocol.Claim(**{**words, **made, **changes})


@pytest.fixture
def made_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of two claims: that a number is above 1, and that every layer's is."""
    table = {ONE: claim("above 1"), EVERY: claim("above 1", id=EVERY, every="layer")}
    monkeypatch.setattr(evidence, "claims", lambda: table)
    monkeypatch.setattr(claims, "claims", lambda: table)


def sample(mean: float, n: int = 20, spread: float = 1.0) -> Any:
    """n numbers of exactly this mean and this standard deviation."""
    values = np.random.default_rng(n).normal(size=n)
    return mean + spread * (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("above 0.5", 0.5, math.inf), ("below -2", -math.inf, -2.0), ("between -0.3 and 1", -0.3, 1.0)],
)
def test_a_criterion_is_read(text: str, low: float, high: float) -> None:
    found = protocol.Criterion.of(text)
    assert (found.low, found.high, found.text) == (low, high, text)


@pytest.mark.parametrize("text", ["over 3", "above", "between 1", "above 0.5 bits"])
def test_other_words_are_no_criterion(text: str) -> None:
    with pytest.raises(ValueError, match=r"criterion = .*; allowed: 'above A', 'below B', 'between A and B'"):
        protocol.Criterion.of(text)


def test_the_protocol_is_whole() -> None:
    """Each claim belongs to a script that exists, and each script but the movie gives evidence."""
    table = protocol.claims()
    assert {each.experiment for each in table.values()} | {"movie", "settings"} == set(claims.EXPERIMENTS)
    for each in table.values():
        assert (ROOT / "experiments" / f"{each.experiment}.py").exists()
        if each.tag == "test":
            assert each.against, each.id
        if each.log10:
            assert max(each.criterion.low, 0) > 0 or 0 < each.criterion.high < math.inf, each.id
    with pytest.raises(ValueError, match="tag of claim 'one' = 'guess'; allowed: test, calibration, control"):
        claim("above 0", tag="guess")


def test_a_mean_is_judged_by_student(made_claims: None) -> None:
    values = sample(1.3)
    found = common.Evidence(ONE, np.append(values, np.nan))
    (entry,) = found.entries
    known = stats.ttest_1samp(values, 1.0)
    assert entry.n == 20
    assert entry.p_above(1.0) == pytest.approx(known.pvalue / 2)
    assert entry.p_below(1.0) == pytest.approx(1 - known.pvalue / 2)
    assert tuple(entry.interval())[1:] == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert evidence.p_value(found) == pytest.approx(known.pvalue)


def test_a_share_is_judged_exactly(made_claims: None) -> None:
    """All of 50 networks: at least 93% of all networks, by Clopper and Pearson; 0.025^(1/50) by hand."""
    assert common.share(np.ones(50)) == pytest.approx((1.0, 0.025 ** (1 / 50), 1.0))
    assert common.share([0.0] * 10) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 10)))
    (entry,) = common.Evidence.share(ONE, [1.0] * 4 + [0.0, math.nan]).entries
    assert entry.p_above(0.5) == pytest.approx(6 / 32)  # 4 or 5 heads of 5
    assert entry.p_below(0.5) == pytest.approx(31 / 32)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([3.0, 2.0], "reproduced"),
        ([-1.0, 0.0], "not reproduced"),
        ([3.0, 0.0], "depends on the layer: not in b; holds in a"),
        ([1.01, 0.0], "depends on the layer: not in b; open in a"),
        ([1.01, 3.0], "undecided"),
    ],
)
def test_a_claim_about_every_entry(means: list[float], verdict: str, made_claims: None) -> None:
    values = np.stack([sample(mean) for mean in means], axis=1)
    assert evidence.verdict(common.Evidence(EVERY, values, ["a", "b"])) == verdict


def test_the_worst_entry_is_shown_with_a_simultaneous_interval(made_claims: None) -> None:
    values = np.stack([sample(3.0), sample(2.0)], axis=1)
    found = common.Evidence(EVERY, values, ["a", "b"])
    wide = stats.ttest_1samp(values[:, 1], 0).confidence_interval(1 - 0.05 / 2)
    text, n = evidence.shown(found, claim("above 1", every="layer"))
    assert text == f"2 [{wide.low:.3g}, {wide.high:.3g}] (b)"
    assert n == 20


def test_a_least_value_refutes_nothing(made_claims: None) -> None:
    """What is known to be above the limit passes; what is below may yet be above."""
    for mean, verdict in ((2.0, "reproduced"), (-2.0, "undecided")):
        found = common.Evidence(EVERY, sample(mean)[:, None], ["a"], at_least=["a"])
        assert evidence.verdict(found).startswith(verdict)
    found = common.Evidence(EVERY, np.stack([sample(2.0), sample(-2.0)], axis=1), ["a", "b"], at_least=["a"])
    assert evidence.verdict(found) == "depends on the layer: not in b; holds in a"


def test_many_entries_are_counted(made_claims: None) -> None:
    columns = np.stack([sample(mean) for mean in (2.0, -2.0, 2.0, 2.0, 2.0)], axis=1)
    found = common.Evidence(EVERY, columns, list("abcde"))
    assert evidence.verdict(found) == "depends on the layer: not in b; holds in the other 4"


def test_a_bootstraps_interval_is_stretched() -> None:
    """As a normal distribution's would be: 2.81 standard errors for 1.96 at the level of ten entries."""
    entry = evidence.Entry("", 1.0, 0.5, 20, "bootstrap", 0.0, 3.0)
    assert entry.interval(0.95) == pytest.approx((1.0, 0.0, 3.0))
    ratio = 2.8070 / 1.9600
    assert entry.interval(0.995) == pytest.approx((1.0, 1 - ratio, 1 + 2 * ratio), abs=1e-3)


def test_one_network_decides_nothing(made_claims: None) -> None:
    found = common.Evidence(ONE, [7.0])
    assert evidence.verdict(found) == "undecided"
    assert evidence.shown(found, claim("above 1"))[0] == "7 (no interval)"
    assert evidence.verdict(common.Evidence.unmeasurable(ONE, "all in cells of their own")) == "not measurable"
    assert evidence.verdict(common.Evidence(ONE, np.full(4, 1.5))) == "reproduced"  # all networks agree
    assert evidence.verdict(common.Evidence(ONE, np.full(4, 0.5))) == "not reproduced"


def test_a_logarithm_is_judged_in_the_unit_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {ONE: claim("between 175 and 700", log10=True, unit="epochs")}
    monkeypatch.setattr(evidence, "claims", lambda: table)
    found = common.Evidence(ONE, np.log10(350) + sample(0.0, spread=0.05))
    assert evidence.verdict(found) == "reproduced"
    assert evidence.shown(found, table[ONE])[0].startswith("350 [")
    assert evidence.verdict(common.Evidence(ONE, sample(1.2, spread=0.05))) == "not reproduced"


def test_holm_by_hand() -> None:
    """3 x .01, then 2 x .02, then .04 (not below the one before); ties and 1 stay within [0, 1]."""
    assert evidence.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert evidence.holm([0.9, 0.8]) == [1.0, 1.0]
    assert evidence.holm([]) == []


def test_many_claims_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """p = .03 alone decides; beside nine claims of the same family that are open it does not; controls do not count."""
    table = {f"c{i}": claim("above 1", id=f"c{i}", tag="test" if i < 10 else "control") for i in range(11)}
    monkeypatch.setattr(evidence, "claims", lambda: table)
    monkeypatch.setattr(claims, "claims", lambda: table)
    borderline = 1 + stats.t.ppf(1 - 0.03 / 2, 19) / math.sqrt(20)
    found = [common.Evidence(name, sample(borderline if name in ("c0", "c10") else 1.001)) for name in table]
    assert evidence.p_value(found[0]) == pytest.approx(0.03)
    record = {"evidence": [each.as_json() for each in found], "over_settings": []}
    rows = {row.claim.id: row for row in claims.judge([record])}
    assert rows["c0"].p == pytest.approx(0.3)
    assert rows["c0"].verdict == "undecided"
    assert rows["c10"].p == pytest.approx(0.03)
    assert rows["c10"].verdict == "reproduced"


def test_evidence_survives_its_file(made_claims: None) -> None:
    found = common.Evidence.of(ONE, 2.0, 1.5, 2.5, math.nan, 9, "so")
    again = common.Evidence.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False)))
    assert again.as_json() == found.as_json()
    assert math.isnan(again.entries[0].error)
    with pytest.raises(ValueError, match=r"claim = 'two'; allowed: those of protocol\.toml, one, every"):
        common.Evidence("two", [1.0])
    with pytest.raises(ValueError, match="claim 'one' has 2 entries; allowed: one"):
        common.Evidence(ONE, np.ones((3, 2)), ["a", "b"])
    with pytest.raises(ValueError, match=r"values has shape \(3, 2\) for 1 names"):
        common.Evidence(EVERY, np.ones((3, 2)), ["a"])


def test_the_seeds_of_a_plan() -> None:
    assert common.Plan().seeds(3) == (1000, 1001, 1002)
    assert common.Plan(quick=True, first_seed=7).seeds(50) == (7, 8, 9, 10)
    assert common.Plan(count=2, first_seed=0).paper(seeds=50, epochs=9).seeds == (0, 1)


def test_a_run_with_custom_parts_has_a_file_of_its_name(tmp_path: Path) -> None:
    config = common.Plan(quick=True, count=1).paper(epochs=2, logged_epochs=2)
    data = ibjax.spherical_dataset("var_u")
    job = common.Job(config=config, name="hard", parts={"dataset": data})
    assert common.run_file(job, tmp_path).name.startswith("hard-")
    first = common.train({"a": job, "b": config}, tmp_path)
    assert first["a"].i_xy != first["b"].i_xy
    again = common.run_or_load(job, common.run_file(job, tmp_path))
    np.testing.assert_array_equal(again.i_xt, first["a"].i_xt)
    with pytest.raises(ValueError, match=r"holds another run; it differs in custom parts \(stored \['dataset'\]"):
        common.run_or_load(config, common.run_file(job, tmp_path))
    other = dataclasses.replace(config, bins=20)
    with pytest.raises(ValueError, match=r"bins \(stored 30, asked 20\)"):
        common.run_or_load(other, common.run_file(config, tmp_path))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the toy runs of all scripts are, so that each is trained once."""
    return tmp_path_factory.mktemp("results")


@pytest.mark.parametrize("name", claims.EXPERIMENTS)
def test_quick_experiment(name: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, each makes the runs it needs, and its evidence speaks of the claims that the protocol gives to it."""
    jax.config.update("jax_disable_most_optimizations", False)  # they compute longer than they compile
    plan = common.Plan(quick=True, first_seed=7)
    assert importlib.import_module(name).main(["--quick", "--first-seed", "7", "--out", str(results)]) == 0
    record = claims.read_record(name, results, plan)
    assert record is not None
    assert claims.read_record(name, results, dataclasses.replace(plan, quick=False)) is None
    assert claims.read_record(name, results, dataclasses.replace(plan, first_seed=8)) is None
    promised = {each.id for each in protocol.claims().values() if each.experiment == name}
    assert {each["claim"] for each in record["evidence"]} == promised
    assert {each["claim"] for each in record["over_settings"]} <= set(protocol.claims())
    assert record["figures"]
    for figure in record["figures"]:
        assert (results / f"{figure}.png").stat().st_size > 10_000
        assert (results / f"{figure}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("custom_network", 2), ("wide", 2)])
def test_examples(name: str, runs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module(name).main(["--quick", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    for path in (found := sorted(tmp_path.glob("*.npz"))):
        assert np.isfinite(ibjax.load(path).i_xt).all()
    assert len(found) == runs


class Made:
    """A stand-in for an experiment: how often it ran, and whether it fails."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name, self.fails, self.calls = name, fails, 0

    def main(self, argv: list[str]) -> int:
        self.calls += 1
        if self.fails:
            raise ValueError("no such thing")
        out = Path(argv[argv.index("--out") + 1])
        found = common.Evidence(ONE, sample(2.0), detail="so | so") if self.name == "first" else None
        over = [{"claim": ONE, "holds": 3, "of": 4, "turns": "at rate 1"}] if self.name == "third" else []
        record = {"name": self.name, "quick": "--quick" in argv, "first_seed": 1000, "figures": [self.name]}
        record |= {"evidence": [found.as_json()] if found else [], "over_settings": over}
        (out / f"{self.name}.json").write_text(json.dumps(record))
        return 0


def test_the_table_goes_on_where_it_stopped(
    made_claims: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"first": Made("first"), "second": Made("second", fails=True), "third": Made("third")}
    monkeypatch.setattr(claims, "EXPERIMENTS", tuple(made))
    for name, experiment in made.items():
        monkeypatch.setitem(sys.modules, name, experiment)
    options = ["--quick", "--out", str(tmp_path)]
    assert claims.main(options) == 1
    assert "failed: second" in capsys.readouterr().err
    text = (tmp_path / "claims.md").read_text()
    interval = stats.ttest_1samp(sample(2.0), 0).confidence_interval(0.95)
    number = f"2 [{interval.low:.3g}, {interval.high:.3g}]"
    assert f"| 1 | x | x [x] | {number} | above 1 | 20 | reproduced | 3 of 4; at rate 1 |" in text
    assert "so | so" in text
    assert "`second`: ValueError: no such thing" in text
    assert "proves" in text
    made["second"].fails = False
    assert claims.main(options) == 0
    assert [experiment.calls for experiment in made.values()] == [1, 2, 1]
    content = json.loads((tmp_path / "claims.json").read_text())
    assert [row["claim"] for row in content["claims"]] == [ONE]
    assert content["errors"] == {}
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "third.png")
    assert claims.main([*options, "--redo", "third", "--page", str(tmp_path / "page")]) == 0
    with Image.open(tmp_path / "page" / "third.png") as picture:
        assert picture.size == (1300, 867)
    assert (tmp_path / "page" / "claims.md").read_text() == (tmp_path / "claims.md").read_text()
    assert [experiment.calls for experiment in made.values()] == [1, 2, 2]
    (tmp_path / "first.json").write_text("{ half")
    assert claims.main(options) == 0
    assert made["first"].calls == 2
    assert claims.main(options[1:]) == 0  # the full size does not take the toy's evidence
    assert [experiment.calls for experiment in made.values()] == [3, 3, 3]
    assert "proves" not in (tmp_path / "claims.md").read_text()
