"""The outcome goes from the workbench to the Billing Database by a pipe, whole or not at all."""

import hashlib
import threading
from contextlib import closing

import duckdb
import pytest

from caas.external_systems.reconciliation_outcome_lines import OutcomeLines

LINES = 200_000
"""More than a pipe holds."""
QUERY = f"from range({LINES}) t(n) select n, 'txn_' || n order by n"
WRITTEN = "".join(f"{n},txn_{n}\n" for n in range(LINES)).encode()


def lines_of(queries: list[str]) -> closing[OutcomeLines]:
    """Write what the queries give, and close in the end."""
    return closing(OutcomeLines(duckdb.connect(), queries))


def test_lines_are_taken_in_pieces_and_the_digest_is_of_all() -> None:
    with lines_of([QUERY, "select 'and', 'what stands beside'"]) as outcome:
        first = outcome.take(5_000)
        rest = outcome.take(LINES - 5_000)
        digest = outcome.end()

    assert first + rest == WRITTEN
    assert digest == hashlib.sha256(WRITTEN + b"and,what stands beside\n").hexdigest()


def test_the_digest_does_not_depend_on_the_pieces() -> None:
    digests = []
    for pieces in ([], [1, 7], [LINES]):
        with lines_of([QUERY]) as outcome:
            for piece in pieces:
                outcome.take(piece)
            digests.append(outcome.end())

    assert set(digests) == {hashlib.sha256(WRITTEN).hexdigest()}


def test_an_outcome_that_cannot_be_written_is_an_error_for_who_takes_it() -> None:
    broken = f"from range({LINES}) t(n) select if(n < 100_000, n, error('the disk is full'))"

    with (
        lines_of([broken]) as outcome,
        pytest.raises(duckdb.Error, match="the disk is full"),
    ):
        outcome.take(LINES)


def test_an_outcome_shorter_than_what_is_wanted_is_an_error() -> None:
    with (
        lines_of([QUERY]) as outcome,
        pytest.raises(AssertionError, match="1 lines too early"),
    ):
        outcome.take(LINES + 1)


def test_nobody_writes_on_when_nobody_reads() -> None:
    before = threading.active_count()

    with lines_of([QUERY]) as outcome:
        outcome.take(1)

    assert threading.active_count() == before
