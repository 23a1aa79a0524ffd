"""Work that is shared between threads comes back whole and in order."""

from __future__ import annotations

import threading

import pytest
from fairfield.threads import run_shares


def test_shares_come_back_in_order() -> None:
    names = run_shares(3, lambda share: (share, threading.current_thread().name))
    assert [share for share, _ in names] == [0, 1, 2]
    assert names[0][1] == threading.current_thread().name
    assert all("kernels" in name for _, name in names[1:])


def test_a_share_that_shares_out_its_own_work_does_not_wait_for_itself() -> None:
    assert run_shares(2, lambda outer: run_shares(2, lambda inner: (outer, inner))) == [
        [(0, 0), (0, 1)],
        [(1, 0), (1, 1)],
    ]


@pytest.mark.parametrize("share", [0, 1])
def test_an_error_in_a_share_is_raised_and_the_next_work_is_done(share: int) -> None:
    def fail(each: int) -> None:
        if each == share:
            raise ValueError

    with pytest.raises(ValueError):
        run_shares(2, fail)
    assert run_shares(2, lambda each: run_shares(2, lambda inner: inner)) == [[0, 1], [0, 1]]
