"""The list of mutants stays true; `python tests/mutants.py` runs them."""

from __future__ import annotations

import mutants
import pytest
from mutants import MUTANTS, Mutant, faults


def test_mutants_are_errors_of_the_code_as_it_is_and_name_tests_that_are_there() -> None:
    assert [fault for mutant in MUTANTS for fault in faults(mutant)] == []
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS) >= 30
    assert all(mutant.old != mutant.new and mutant.tests for mutant in MUTANTS)


def test_what_is_not_true_any_more_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gone = Mutant("config.py", "no such text", "", "test_config.py")
    nameless = Mutant("config.py", "MOST_SEEDS = 10**7", "MOST_SEEDS = 10**8", "test_config.py::TestPresets::test_no")
    monkeypatch.setattr(mutants, "MUTANTS", (gone, nameless))
    assert mutants.main([]) == 1
    told = capsys.readouterr().out
    assert "0 times 'no such text'" in told
    assert "test_no is no test" in told
