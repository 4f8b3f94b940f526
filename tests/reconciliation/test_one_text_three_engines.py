"""One SQL text, three engines and a naive reading: they agree, and find what is planted."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from caas.billing_database.classification import PostgresqlEngine, classification
from caas.billing_database.connection import Database
from caas.external_systems.reconciliation_engine import ReconciliationEngine, SparkEngine
from caas.external_systems.reconciliation_workbench import Workbench
from caas.rules.compared_relations import AGREEING, OUTCOME, names
from tests.reconciliation.naive import classify
from tests.reconciliation.planted import ERRORS, Planted, planted

SEEDS = range(5)


def on_bench(folder: Path, day: Planted) -> Workbench:
    """Lay a generated day on a workbench."""
    folder.mkdir()
    bench = Workbench(folder)
    bench.fill("report_lines", day.lines)
    bench.fill("book_payments", day.payments)
    bench.take_terms(day.terms)
    return bench


def outcome(bench: Workbench) -> list[dict[str, Any]]:
    """Return what came out, in one order."""
    return bench._dicts("from outcome order by rank nulls last, payment_id, class")


async def judged_by(
    engine: ReconciliationEngine, folder: Path, day: Planted
) -> list[dict[str, Any]]:
    """Let an engine judge a generated day."""
    bench = on_bench(folder, day)
    bench.hand_out(engine.file_format)
    bench.take_outcome(await engine.classify(folder, classification()))
    return outcome(bench)


def judged_by_duckdb(folder: Path, day: Planted) -> list[dict[str, Any]]:
    """Let the workbench itself judge."""
    bench = on_bench(folder, day)
    bench.classify(classification())
    assert [*outcome(bench)[0]] == names(OUTCOME)
    return outcome(bench)


def key(row: dict[str, Any]) -> int | str:
    """Return by what a generated day knows a finding: the rank of its line, or its payment."""
    return row["payment_id"] if row["rank"] is None else row["rank"]


@pytest.fixture(scope="module")
async def spark() -> AsyncIterator[SparkEngine]:
    """A Spark Connect server in a process of its own.

    Its client takes a main module without a file, which a worker of pytest-xdist has, for doctests.
    """
    main_module = sys.modules["__main__"]
    if not hasattr(main_module, "__file__"):
        main_module.__file__ = sys.executable
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        "from pysail.spark import SparkConnectServer\n"
        "server = SparkConnectServer(); server.start(background=True)\n"
        "print(*server.listening_address, flush=True)\n"
        "import sys; sys.stdin.read()",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert server.stdout is not None
    host, port = (await server.stdout.readline()).decode().split()
    yield SparkEngine(f"sc://{host}:{port}")
    server.kill()
    await server.wait()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_found_is_what_was_planted_and_nothing_else(tmp_path: Path, seed: int) -> None:
    day = planted(seed)

    found = {key(row): row["class"] for row in judged_by_duckdb(tmp_path / "bench", day)}

    assert found == day.expected


@pytest.mark.parametrize("seed", SEEDS)
def test_a_naive_row_by_row_reading_agrees(tmp_path: Path, seed: int) -> None:
    day = planted(seed, harmless=60, errors=1)

    naive = {astuple(verdict) for verdict in classify(day.lines, day.payments, day.terms)}

    found = {
        (row["rank"], row["payment_id"], row["class"], row["at_stake"])
        for row in judged_by_duckdb(tmp_path / "bench", day)
    }
    assert found == naive


async def test_postgresql_agrees_with_duckdb_line_by_line(
    tmp_path: Path, database: Database
) -> None:
    day = planted(11)

    found = await judged_by(PostgresqlEngine(database), tmp_path / "postgresql", day)

    assert found == judged_by_duckdb(tmp_path / "duckdb", day)


async def test_spark_agrees_with_duckdb_line_by_line(tmp_path: Path, spark: SparkEngine) -> None:
    day = planted(12)

    found = await judged_by(spark, tmp_path / "spark", day)

    assert found == judged_by_duckdb(tmp_path / "duckdb", day)


def test_without_agreed_fees_no_fee_is_a_discrepancy(tmp_path: Path) -> None:
    day = planted(13)
    day.terms |= {"fee_per_mille": None, "fee_fixed": None, "dispute_fee": None}

    found = {row["class"] for row in judged_by_duckdb(tmp_path / "bench", day)}

    assert "fee_drift" not in found


def test_every_kind_of_discrepancy_is_planted() -> None:
    day = planted(14)

    kinds = {kind for kind in day.expected.values() if kind not in AGREEING}

    assert len(kinds) == 16
    assert len(ERRORS) > len(kinds)


def test_the_same_comparison_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (on_bench(tmp_path / name, planted(15)) for name in ("first", "second"))

    digests = []
    for bench in (first, second):
        bench.classify(classification())
        with closing(bench.outcome_lines(names(OUTCOME))) as outcome:
            digests.append(outcome.end())

    assert digests[0] == digests[1]
