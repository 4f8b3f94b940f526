"""The outcome goes from the workbench to the Billing Database by a file, whole or not at all."""

import hashlib
import threading
import time
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from caas.external_systems.reconciliation_outcome_lines import OutcomeLines

LINES = 200_000
"""More than is written before the first is taken."""
QUERY = f"from range({LINES}) t(n) select n, 'txn_' || n order by n"
PATIENCE_SECONDS = 60
WRITTEN = "".join(f"{n},txn_{n}\n" for n in range(LINES)).encode()


def lines_of(folder: Path, queries: list[str]) -> closing[OutcomeLines]:
    """Write what the queries give, and close in the end."""
    return closing(OutcomeLines(duckdb.connect(), queries, folder / "outcome.csv"))


def test_lines_are_taken_in_pieces_and_the_digest_is_of_all(tmp_path: Path) -> None:
    with lines_of(tmp_path, [QUERY, "select 'and', 'what stands beside'"]) as outcome:
        first = outcome.take(5_000)
        rest = outcome.take(LINES - 5_000)
        digest = outcome.end()

    assert first + rest == WRITTEN
    assert digest == hashlib.sha256(WRITTEN + b"and,what stands beside\n").hexdigest()


def test_the_digest_does_not_depend_on_the_pieces(tmp_path: Path) -> None:
    digests = []
    for pieces in ([], [1, 7], [LINES]):
        with lines_of(tmp_path, [QUERY]) as outcome:
            for piece in pieces:
                outcome.take(piece)
            digests.append(outcome.end())

    assert set(digests) == {hashlib.sha256(WRITTEN).hexdigest()}


def test_an_outcome_that_cannot_be_written_is_an_error_for_who_takes_it(tmp_path: Path) -> None:
    broken = f"from range({LINES}) t(n) select if(n < 100_000, n, error('the disk is full'))"

    with (
        lines_of(tmp_path, [broken]) as outcome,
        pytest.raises(duckdb.Error, match="the disk is full"),
    ):
        outcome.take(LINES)


def test_an_outcome_shorter_than_what_is_wanted_is_an_error(tmp_path: Path) -> None:
    with (
        lines_of(tmp_path, [QUERY]) as outcome,
        pytest.raises(AssertionError, match="1 lines too early"),
    ):
        outcome.take(LINES + 1)


def test_the_writer_waits_for_no_reader(tmp_path: Path) -> None:
    """While it waited at a full pipe it kept a core busy, for as long as a run rested."""
    with lines_of(tmp_path, [QUERY]) as outcome:
        outcome.take(1)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (tmp_path / "outcome.csv").stat().st_size < len(WRITTEN):
            assert time.monotonic() < give_up_at
            time.sleep(0.01)


def test_nobody_writes_on_when_nobody_reads(tmp_path: Path) -> None:
    before = threading.active_count()

    with lines_of(tmp_path, [QUERY]) as outcome:
        outcome.take(1)

    assert threading.active_count() == before
