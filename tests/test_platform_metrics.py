"""What a process says of itself: metrics with a rule for every alert, readiness, its own port."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from caas.api.metrics import Metrics
from caas.billing_database import history_heads
from caas.billing_database import operations_counts as figures
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.external_systems.unknown_values import GatewayField, count_unknown, show_fields
from caas.external_systems.vehicle_command_keys import VehicleCommandKeys
from caas.history_signing import DAY_SECONDS, MAKE_HEAD, HeadTerms
from caas.platform_metrics import PlatformMetrics
from caas.rules.payment_states import PaymentState
from caas.server import open_port
from tests.conventions.sources import ROOT
from tests.installation import Installation, standing

RULES = (ROOT / "docs" / "prometheus-rules.yml").read_text("utf-8")
RUNBOOK = (ROOT / "docs" / "operations.md").read_text("utf-8")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
PATIENCE_SECONDS = 120.0
ALERTED_AFTER_SECONDS = 900
NOT_NOW = 503
"""A busy machine is not ready in time, and says so."""
PROMTOOL = shutil.which("promtool")


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with a car and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.offer_heated_seats()
        yield built


@pytest.fixture
async def signs(installation: Installation) -> AsyncIterator[PlatformMetrics]:
    """The vital signs of the installation."""
    made = PlatformMetrics(installation.platform)
    yield made
    await made.close()


async def reported(signs: PlatformMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample that is told, by name and labels."""
    await signs.refresh()
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in signs.collect():
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


async def test_every_metric_of_a_rule_is_told(signs: PlatformMetrics) -> None:
    registry = CollectorRegistry()
    families = [*signs.collect(), *Metrics(registry).collect()]
    names = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}

    used = set(re.findall(r"\bcaas_[a-z_]+\b", "".join(re.findall(r"expr: (.*)", RULES))))

    assert used
    assert used - names == set()


def test_every_alert_of_the_runbook_has_a_rule_and_every_rule_its_place_there() -> None:
    section = RUNBOOK[RUNBOOK.index("### Alerts of the metrics") : RUNBOOK.index("## Unknown")]
    runbook = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))

    alerts = set(re.findall(r"- alert: (\w+)", RULES))
    kinds = set(re.findall(r'caas_open_cases\{kind="(\w+)"\}', RULES))

    named = {name for name in runbook if name.startswith("Caas")}
    assert named
    assert runbook - named == kinds, "give each kind a rule in docs/prometheus-rules.yml"
    assert len(alerts) == len(named) + len(kinds)
    assert named - alerts == set()


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus is not installed")
def test_the_rules_are_prometheus_rules() -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(  # a program of this machine
        [PROMTOOL, "check", "rules", str(ROOT / "docs" / "prometheus-rules.yml")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_an_unknown_value_of_a_gateway_is_counted_by_field(signs: PlatformMetrics) -> None:
    show_fields("new")
    count_unknown("new", GatewayField.DECLINE_CODE, "a_code_of_next_year")

    counted = (await reported(signs))["caas_gateway_unknown_values_total"]

    assert {labels: count for labels, count in counted.items() if labels[0] == "new"} == {
        ("new", field): float(field is GatewayField.DECLINE_CODE) for field in GatewayField
    }


async def test_a_purchase_is_seen_in_the_metrics(
    installation: Installation, signs: PlatformMetrics
) -> None:
    payment = await installation.buys()
    await installation.until(payment.id, lambda it: it.state is PaymentState.CAPTURING)

    samples = await reported(signs)

    in_flight = samples["caas_payments_in_flight"]
    assert sum(in_flight.values()) == 1
    assert next(iter(in_flight))[0] == "service"
    assert ("initiate", "answered") in samples["caas_gateway_call_seconds_count"]
    assert samples["caas_first_answer_added_seconds_count"] == {("service",): 1}
    assert samples["caas_vehicle_commands_total"][("sent",)] >= 1
    assert ("succeeded",) in samples["caas_vehicle_round_trip_seconds_count"]
    assert samples["caas_vehicle_link_up"][()] == 1
    assert samples["caas_database_up"][()] == 1
    assert sum(samples["caas_jobs"].values()) >= 1
    assert samples["caas_figures_age_seconds"][()] < 1_000


async def test_the_gateway_s_own_time_is_not_added_by_us(
    installation: Installation, signs: PlatformMetrics
) -> None:
    """Nobody could tell whether purchases were slow because of the gateway or of the platform."""
    delayed = 2.0
    await installation.gateway_does(
        "faults", match={"operation": "initiate"}, action={"latency_ms": int(delayed * 1000)}
    )
    began = asyncio.get_running_loop().time()
    await installation.buys()
    took = asyncio.get_running_loop().time() - began

    samples = await reported(signs)

    added = samples["caas_first_answer_added_seconds_sum"][("service",)]
    assert 0 < added <= took - delayed


async def test_a_refund_of_unknown_outcome_is_counted_and_none_is_told_as_zero(
    installation: Installation, signs: PlatformMetrics
) -> None:
    """No alert could fire for it, and nobody could tell none from not told."""
    payment = await installation.settled()
    without = await reported(signs)
    await installation.gateway_does(
        "faults", match={"operation": "refund"}, action={"drop_connection_after": True}
    )
    await installation.gateway_does("faults", match={"operation": "find"}, action={"status": 503})
    await installation.platform.payment_processing.refund_payment(
        payment.id, amount=100, reason="goodwill", key="k", requested_by="operations"
    )
    owner = await asyncpg.connect(installation.database.dsn)
    await owner.execute("update caas.clock set moved = moved + interval '1 hour'")
    await owner.close()
    with_one = await reported(PlatformMetrics(installation.platform))

    types = {("reservation",), ("final",), ("service",), ("subscription",), ("refund",)}
    assert without["caas_unknown_outcomes"] == dict.fromkeys(types, 0)
    assert without["caas_unknown_outcome_oldest_seconds"] == dict.fromkeys(types, 0)
    assert with_one["caas_unknown_outcomes"] == dict.fromkeys(types, 0) | {("refund",): 1}
    assert with_one["caas_unknown_outcome_oldest_seconds"][("refund",)] >= ALERTED_AFTER_SECONDS


async def test_a_case_and_a_broken_invariant_are_seen_in_the_metrics(
    installation: Installation, signs: PlatformMetrics
) -> None:
    async with installation.database.transaction() as connection:
        await connection.execute(
            "insert into cases (id, kind, subject, sentence, opened_at) values"
            " (gen_random_uuid(), 'gateway_refuses', gen_random_uuid(), 'x', db_now())"
        )
        await connection.execute(
            "insert into invariant_checks (invariant, broken, since) values ('a_law', 2, db_now())"
        )

    samples = await reported(signs)

    assert samples["caas_open_cases"][("gateway_refuses",)] == 1
    assert samples["caas_invariant_broken"][("a_law",)] == 2


async def test_the_age_of_the_newest_head_is_seen_where_heads_are_made(
    installation: Installation, signs: PlatformMetrics
) -> None:
    """No head for days was seen by nobody."""
    without_key = await reported(signs)
    await installation.platform.tables.jobs.add(MAKE_HEAD, new_id(), due_in=DAY_SECONDS)
    before_the_first = await reported(PlatformMetrics(installation.platform))
    terms = HeadTerms(VehicleCommandKeys([b"k" * 32]), ())
    await history_heads.made(installation.database, sign=terms.sign)
    owner = await asyncpg.connect(installation.database.dsn)
    await owner.execute("update caas.clock set moved = moved + interval '3 days'")
    await owner.close()
    days_later = await reported(PlatformMetrics(installation.platform))

    assert "caas_history_head_age_seconds" not in without_key
    assert 0 <= before_the_first["caas_history_head_age_seconds"][()] < DAY_SECONDS
    assert days_later["caas_history_head_age_seconds"][()] >= 3 * DAY_SECONDS


async def test_the_figures_are_read_once_however_often_somebody_asks(
    signs: PlatformMetrics,
) -> None:
    await signs.refresh()
    reading = signs._reading
    for _ in range(50):
        await signs.refresh()

    assert reading is not None
    assert signs._reading is reading


@pytest.mark.parametrize("name", figures.QUERIES)
async def test_no_figure_reads_the_whole_history(database: Database, name: str) -> None:
    """With indexes to go by, the planner reads no table of history from end to end."""
    async with database.transaction() as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = "\n".join(
            row[0] for row in await connection.fetch(f"explain {figures.QUERIES[name]}")
        )

    assert "Seq Scan on payments" not in plan, plan
    assert "Seq Scan on ledger_entries" not in plan, plan
    assert "Seq Scan on webhook_inbox" not in plan, plan


async def test_the_own_port_says_that_the_process_lives_is_ready_and_how_it_is(
    signs: PlatformMetrics,
) -> None:
    async with (
        open_port("127.0.0.1", 0, signs) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        answers = {}
        for path in ("/live", "/ready", "/metrics", "/nowhere"):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    async with session.get(path) as answer:
                        answers[path] = (answer.status, await answer.text())
                    if answers[path][0] != NOT_NOW:
                        break

    assert [answers[path][0] for path in answers] == [200, 200, 200, 404]
    assert answers["/ready"][1] == '{"status":"ready","degraded":[]}'
    assert "caas_jobs" in answers["/metrics"][1]


async def test_a_gateway_that_does_not_answer_is_degraded_and_the_process_stays_ready(
    installation: Installation, signs: PlatformMetrics
) -> None:
    installation.platform.observed.gateway_calls.without_answer["contract"] = 3

    assert await signs.why_not_ready() is None
    assert ["gateway" in part for part in signs.degraded()] == [True]
