"""Stripe's balance transactions of a day, read as a settlement report."""

from datetime import date

import pytest

from caas.external_systems.http import OutcomeUnknownError, UnknownReason
from caas.external_systems.payment_gateway import ReportStatus, SettlementLineType
from tests.external_systems.stripe_answers import movement
from tests.external_systems.stripe_asked import NOW, told

DAY = date(2025, 11, 24)


async def test_a_day_s_movements_become_one_report_the_oldest_first() -> None:
    newest = {
        "data": [
            movement(
                id="txn_3", reporting_category="refund", amount=-500, fee=0, net=-500, source="re_1"
            ),
            movement(id="txn_2", reporting_category="payout", amount=-9, fee=0, net=-9),
        ],
        "has_more": True,
    }
    oldest = {"data": [movement()], "has_more": False}

    report, requests = await told(lambda gateway: gateway.settlements(DAY), newest, oldest)

    assert [line.type for line in report.lines] == [
        SettlementLineType.SETTLEMENT,
        SettlementLineType.REFUND,
    ]
    assert [line.line_no for line in report.lines] == [1, 2]
    assert (report.lines[0].transaction_id, report.lines[0].reference) == ("pi_1", "pay-1")
    assert (report.line_count, report.gross_total, report.net_total) == (2, 12_000, 11_600)
    assert report.status is ReportStatus.CLOSED
    assert b"created%5Bgte%5D=1763942400&created%5Blt%5D=1764028800" in requests[0]
    assert b"&starting_after=txn_2 " in requests[1]


async def test_the_report_of_today_is_still_open() -> None:
    report, _ = await told(
        lambda gateway: gateway.settlements(NOW.date()), {"data": [], "has_more": False}
    )

    assert report.status is ReportStatus.OPEN


async def test_a_movement_that_does_not_add_up_is_quarantined() -> None:
    page = {"data": [movement(net=1), movement()], "has_more": False}

    report, _ = await told(lambda gateway: gateway.settlements(DAY), page)

    assert (len(report.lines), len(report.quarantined)) == (1, 1)


async def test_a_page_that_cannot_be_continued_is_unknown() -> None:
    with pytest.raises(OutcomeUnknownError) as caught:
        await told(lambda gateway: gateway.settlements(DAY), {"data": [{}], "has_more": True})

    assert caught.value.reason is UnknownReason.MALFORMED
