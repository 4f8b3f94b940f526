"""Settlement reports: `GET /settlements`, in pages and as a file."""

import csv
import io
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from caas_simulators.settlement_report import fee_of
from caas_simulators.simulated_time import Clock
from tests.simulators.gateway_client import Gateway


async def report(gateway: Gateway, query: str = "") -> dict[str, Any]:
    """Return a page of today's report."""
    reply = await gateway.get(f"/settlements{query}")
    assert reply.status == 200, reply
    return reply.body


@pytest.mark.parametrize(
    ("amount", "fee"), [(10_000, 165), (1, 25), (35, 25), (36, 26), (1_000, 39), (999_999, 14_025)]
)
def test_the_fee_is_one_point_four_percent_and_twenty_five_cents(amount: int, fee: int) -> None:
    assert fee_of(amount) == fee


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_day_ends_at_midnight_where_the_merchant_is(zone: str) -> None:
    """Between these two there is no hour at which it is the same day."""
    before = datetime.now(ZoneInfo(zone)).date()

    today = date.fromisoformat(Clock(zone=zone).today())

    assert before <= today <= datetime.now(ZoneInfo(zone)).date()


async def test_every_line_adds_up_and_the_totals_are_those_of_all_lines(gateway: Gateway) -> None:
    await gateway.settled(reference="pay-1")
    await gateway.settled("pm_partial_settlement", reference="pay-2")
    await gateway.settled("pm_settlement_fails", reference="pay-3")
    disputed = await gateway.settled(reference="pay-4")
    await gateway.control("POST", f"/transactions/{disputed}/dispute", {})
    await gateway.control("POST", f"/transactions/{disputed}/dispute", {"outcome": "won"})
    refunded = await gateway.settled(reference="pay-5")
    await gateway.post(f"/transactions/{refunded}/refund", {"amount": 250})
    await gateway.control("POST", "/settle", {})

    page = await report(gateway)

    lines = page["data"]
    assert [(line["type"], line["gross"], line["fee"]) for line in lines] == [
        ("settlement", 1000, 39),
        ("settlement", 600, 33),
        ("settlement_failure", 0, 0),
        ("settlement", 1000, 39),
        ("chargeback", -1000, 0),
        ("fee", 0, 1500),
        ("chargeback_reversal", 1000, 0),
        ("settlement", 1000, 39),
        ("refund", -250, 0),
    ]
    assert all(line["gross"] - line["fee"] == line["net"] for line in lines)
    assert [line["line_no"] for line in lines] == list(range(1, 10))
    assert page["line_count"] == 9
    assert page["gross_total"] == sum(line["gross"] for line in lines)
    assert page["net_total"] == sum(line["net"] for line in lines)


async def test_money_taken_back_is_a_line_below_zero(gateway: Gateway) -> None:
    settled = await gateway.settled()

    await gateway.control("POST", f"/transactions/{settled}/settlement-failure")

    last = (await report(gateway))["data"][-1]
    assert (last["type"], last["gross"], last["net"]) == ("settlement_failure", -1000, -1000)


async def test_pages_together_are_the_whole_report(gateway: Gateway) -> None:
    for number in range(5):
        await gateway.settled(reference=f"pay-{number}")
    whole = await report(gateway)

    gathered: list[object] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await report(gateway, f"?limit=2&cursor={cursor}")
        assert (page["line_count"], page["net_total"]) == (5, whole["net_total"])
        gathered += page["data"]
        cursor = page["next_cursor"]

    assert gathered == whole["data"]


async def test_the_file_has_the_same_lines_and_totals(gateway: Gateway) -> None:
    await gateway.settled(reference='pay,"1')
    await gateway.settled(reference="pay-2")
    page = await report(gateway)

    reply = await gateway.get("/settlements", accept="text/csv")

    rows = list(csv.DictReader(io.StringIO(reply.text)))
    texts = [{name: str(value) for name, value in line.items()} for line in page["data"]]
    assert reply.headers["content-type"].startswith("text/csv")
    assert rows == texts
    assert reply.headers["x-report-id"] == page["report_id"]
    assert reply.headers["x-line-count"] == "2"
    assert reply.headers["x-net-total"] == str(page["net_total"])
    assert reply.headers["x-report-status"] == "open"


async def test_a_closed_day_takes_no_further_line(gateway: Gateway) -> None:
    await gateway.settled(reference="pay-1")
    today = (await report(gateway))["date"]

    await gateway.control("POST", "/close-day", {})
    await gateway.settled(reference="pay-2")

    closed = await report(gateway, f"?date={today}")
    assert (closed["status"], closed["line_count"]) == ("closed", 1)


async def test_what_comes_after_the_close_stands_in_the_next_days_report(gateway: Gateway) -> None:
    today = (await report(gateway))["date"]
    await gateway.control("POST", "/close-day", {})
    await gateway.settled()

    await gateway.control("POST", "/advance", {"seconds": 86_400_000})
    tomorrow = await report(gateway)

    assert tomorrow["date"] > today
    assert (tomorrow["line_count"], tomorrow["status"]) == (1, "open")


async def test_a_day_that_is_over_is_closed(gateway: Gateway) -> None:
    await gateway.settled()
    today = (await report(gateway))["date"]

    await gateway.control("POST", "/advance", {"seconds": 86_400_000})

    assert (await report(gateway, f"?date={today}"))["status"] == "closed"


async def test_a_line_can_be_made_up(gateway: Gateway) -> None:
    line = {
        "transaction_id": "txn_alien",
        "reference": "nobodys",
        "type": "settlement",
        "gross": 500,
        "fee": 10,
        "net": 480,
        "currency": "USD",
    }

    await gateway.control("POST", "/lines", {"date": "2026-01-31"} | line)

    page = await report(gateway, "?date=2026-01-31")
    assert page["data"][0].items() >= line.items()
    assert (page["status"], page["net_total"]) == ("closed", 480)


@pytest.mark.parametrize("query", ["?date=31-01-2026", "?date=2026-02-30", "?cursor=page-2"])
async def test_a_date_or_cursor_that_is_none_is_refused(gateway: Gateway, query: str) -> None:
    reply = await gateway.get(f"/settlements{query}")

    assert (reply.status, reply.body["code"][:8]) == (400, "invalid_")


async def test_a_report_can_be_made_wrong(gateway: Gateway) -> None:
    for number in range(4):
        await gateway.settled(reference=f"pay-{number}")
    honest = await report(gateway, "?limit=2")

    await gateway.script({"operation": "settlements", "times": 1}, wrong_totals=True)
    wrong_totals = await report(gateway)
    await gateway.script({"operation": "settlements", "times": 1}, drop_line=2)
    line_dropped = await report(gateway)
    await gateway.script({"operation": "settlements", "times": 1}, duplicate_line=3)
    line_twice = await report(gateway)
    await gateway.script({"operation": "settlements", "times": 1}, repeat_page=True)
    page_again = await report(gateway, f"?limit=2&cursor={honest['next_cursor']}")

    assert wrong_totals["gross_total"] != sum(line["gross"] for line in wrong_totals["data"])
    assert [line["line_no"] for line in line_dropped["data"]] == [1, 3, 4]
    assert [line["line_no"] for line in line_twice["data"]] == [1, 2, 3, 3, 4]
    assert page_again["data"] == honest["data"]
