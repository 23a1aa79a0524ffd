"""A few cases of the fault sweep; `benchmarks/reliability.py` runs all of them."""

from __future__ import annotations

import pytest
import sweep
from expected import ANSWER
from sweep import Case


@pytest.mark.parametrize(
    "case",
    [
        Case("chatter", "fit", "0"),
        Case("no-memory", "fit", "4"),
        Case("garbage", "fit", ANSWER),
        Case("little-memory", "smooth", "1"),
        Case("hold-lock", "extract", "2"),
        Case("loop", "extract", "1"),
    ],
    ids=lambda case: f"{case.fault} in {case.job} at {case.stage}",
)
def test_a_fault_is_told_and_the_next_job_works(case: Case) -> None:
    outcome = sweep.run_case(case)
    assert not outcome.lost, outcome
