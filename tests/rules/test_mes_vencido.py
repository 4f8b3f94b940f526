"""Mes vencido: months without gaps, fees without rounding losses, charges that add up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caas.rules.mes_vencido import (
    ChargeKind,
    DeliveredInterval,
    InvalidMonthError,
    MeteredUsage,
    Month,
    ServicePeriod,
    calculate_usage_charges,
    delivered_days,
    prorate,
    was_delivered,
)
from caas.rules.money import CurrencyMismatchError, Money

MADRID = ZoneInfo("Europe/Madrid")

# Zones whose clocks change at midnight, on the first of a month, by half an hour, or not at all.
ZONES = [
    "Europe/Madrid", "Atlantic/Canary", "Europe/London", "America/Mexico_City", "Asia/Amman",
    "America/St_Johns", "America/Sao_Paulo", "America/Santiago", "Africa/Cairo", "Asia/Tehran",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Africa/Casablanca", "UTC",
]  # fmt: skip

EUROS = 100

months = st.builds(Month, st.integers(1970, 2100), st.integers(1, 12))
zones = st.sampled_from(ZONES).map(ZoneInfo)
instants = st.integers(0, 131 * 365 * 86_400).map(
    lambda second: datetime.fromtimestamp(second, UTC)
)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=MADRID).astimezone(UTC)


def _delivered(start: str, end: str | None = None) -> DeliveredInterval:
    return DeliveredInterval(_at(start), None if end is None else _at(end))


@pytest.mark.parametrize("zone_name", ZONES)
def test_from_1970_to_2100_no_month_leaves_a_gap_or_overlaps_the_next(zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    all_months = [Month(year, number) for year in range(1970, 2101) for number in range(1, 13)]

    for month, following in pairwise(all_months):
        interval = month.interval(zone)
        assert month.next() == following
        assert following.previous() == month
        assert interval.end == following.interval(zone).start
        assert timedelta(days=27) < interval.end - interval.start < timedelta(days=32)


@given(instant=instants, zone=zones)
def test_every_instant_lies_in_exactly_the_month_that_contains_it(
    instant: datetime, zone: ZoneInfo
) -> None:
    month = Month.containing(instant, zone)

    assert instant in month.interval(zone)
    assert instant not in month.next().interval(zone)
    assert instant not in month.previous().interval(zone)


@given(month=months, zone=zones)
def test_the_first_and_the_last_moment_of_a_month_belong_to_it(
    month: Month, zone: ZoneInfo
) -> None:
    interval = month.interval(zone)

    assert Month.containing(interval.start, zone) == month
    assert Month.containing(interval.end - timedelta.resolution, zone) == month
    assert Month.containing(interval.end, zone) == month.next()


def test_in_madrid_november_begins_an_hour_before_utc_does() -> None:
    assert Month(2026, 11).interval(MADRID) == ServicePeriod(
        datetime(2026, 10, 31, 23, tzinfo=UTC), datetime(2026, 11, 30, 23, tzinfo=UTC)
    )


def test_the_month_of_the_clock_change_is_an_hour_short() -> None:
    interval = Month(2026, 3).interval(MADRID)

    assert interval.end - interval.start == timedelta(days=31, hours=-1)


def test_an_hour_repeated_after_midnight_of_the_first_stays_in_the_new_month() -> None:
    newfoundland = ZoneInfo("America/St_Johns")  # 1 November 2009, 00:01, back to 23:01
    november = Month(2009, 11)
    repeated = datetime(2009, 10, 31, 23, 30, fold=1, tzinfo=newfoundland).astimezone(UTC)

    days = delivered_days(
        november, newfoundland, [DeliveredInterval(repeated, repeated + timedelta(days=2))]
    )

    assert Month.containing(repeated, newfoundland) == november
    assert days == 2


def test_a_month_may_be_charged_from_the_instant_it_is_over() -> None:
    november = Month.parse("2026-11")

    assert not november.is_over(_at("2026-11-30T23:59:59.999999"), MADRID)
    assert november.is_over(_at("2026-12-01T00:00:00"), MADRID)


@given(months)
def test_a_key_is_read_back_as_the_same_month(month: Month) -> None:
    assert Month.parse(str(month)) == month


@pytest.mark.parametrize("key", ["2026-13", "2026-00", "2026-1", "26-01", "2026/01", "", "٢٠٢٦-٠١"])
def test_what_is_no_month_is_refused(key: str) -> None:
    with pytest.raises(InvalidMonthError):
        Month.parse(key)


@pytest.mark.parametrize(("year", "number"), [(2026, 13), (2026, 0), (0, 1), (9999, 1)])
def test_there_is_no_thirteenth_month_and_no_year_without_an_end(year: int, number: int) -> None:
    with pytest.raises(InvalidMonthError):
        Month(year, number)


def test_months_are_ordered_as_they_come() -> None:
    assert Month(2025, 12) < Month(2026, 1) < Month(2026, 2)
    assert (Month(2026, 2).days, Month(2028, 2).days) == (28, 29)


@pytest.mark.parametrize(
    ("delivered", "days"),
    [
        ([_delivered("2026-10-01T00:00")], 30),
        ([_delivered("2026-11-15T18:00")], 16),
        ([_delivered("2026-10-01T00:00", "2026-11-10T00:00")], 9),
        ([_delivered("2026-10-01T00:00", "2026-11-10T00:01")], 10),
        ([_delivered("2026-11-05T10:00", "2026-11-05T10:05")], 1),
        ([_delivered("2026-11-05T10:00", "2026-11-05T10:05")] * 2, 1),
        ([_delivered("2026-11-05T10:00", "2026-11-07T00:00"), _delivered("2026-11-06T09:00")], 26),
        ([_delivered("2026-12-01T00:00")], 0),
        ([_delivered("2026-10-01T00:00", "2026-11-01T00:00")], 0),
        ([], 0),
    ],
)
def test_a_day_counts_once_and_whole_when_the_service_was_delivered_on_it(
    delivered: list[DeliveredInterval], days: int
) -> None:
    assert delivered_days(Month(2026, 11), MADRID, delivered) == days


@given(month=months, zone=st.sampled_from(["Europe/Madrid", "America/St_Johns"]).map(ZoneInfo))
def test_a_service_that_never_stopped_is_delivered_on_every_day(
    month: Month, zone: ZoneInfo
) -> None:
    always = DeliveredInterval(datetime(1960, 1, 1, tzinfo=UTC))

    assert delivered_days(month, zone, [always]) == month.days


@given(
    fee=st.integers(0, 10**10),
    shares=st.lists(st.integers(0, 8), max_size=12),
    spare=st.integers(0, 5),
)
def test_the_shares_of_a_fee_never_come_to_more_than_the_fee(
    fee: int, shares: list[int], spare: int
) -> None:
    out_of = sum(shares) + spare + 1

    parts = [prorate(Money(fee, "EUR"), days=days, out_of=out_of).amount for days in shares]
    assert sum(parts) <= fee
    assert all(0 <= part * out_of <= fee * days for part, days in zip(parts, shares, strict=True))


@given(fee=st.integers(0, 10**12), out_of=st.integers(1, 31))
def test_the_whole_month_costs_the_whole_fee_and_no_day_nothing(fee: int, out_of: int) -> None:
    assert prorate(Money(fee, "EUR"), days=out_of, out_of=out_of) == Money(fee, "EUR")
    assert prorate(Money(fee, "EUR"), days=0, out_of=out_of) == Money(0, "EUR")


@pytest.mark.parametrize(("fee", "days", "out_of"), [(100, 31, 30), (100, -1, 30), (-1, 1, 30)])
def test_what_is_no_share_of_a_fee_is_refused(fee: int, days: int, out_of: int) -> None:
    with pytest.raises(ValueError, match="no share of a fee"):
        prorate(Money(fee, "EUR"), days=days, out_of=out_of)


def test_the_charges_of_a_month_are_the_fee_the_units_and_the_iva_in_their_sum() -> None:
    charges = calculate_usage_charges(
        Month(2026, 11),
        MADRID,
        fee=Money(30 * EUROS, "EUR"),
        delivered=[_delivered("2026-11-21T12:00")],
        usage=[MeteredUsage(unit="kWh", quantity=7, unit_price=Money(33, "EUR"))],
        iva_basis_points=2100,
    )

    lines = [(line.kind, line.quantity, line.out_of, line.gross.amount) for line in charges.lines]
    assert lines == [
        (ChargeKind.FIXED_FEE, 10, 30, 10 * EUROS),
        (ChargeKind.METERED_USAGE, 7, None, 231),
    ]
    assert (charges.net.amount, charges.iva.amount, charges.gross.amount) == (1017, 214, 1231)
    assert (charges.month, charges.iva_basis_points) == (Month(2026, 11), 2100)


@pytest.mark.parametrize(
    ("fee", "delivered"), [(30 * EUROS, []), (0, [_delivered("2026-11-01T00:00")])]
)
def test_nothing_delivered_or_no_fee_makes_no_fee_line(
    fee: int, delivered: list[DeliveredInterval]
) -> None:
    charges = calculate_usage_charges(
        Month(2026, 11),
        MADRID,
        fee=Money(fee, "EUR"),
        delivered=delivered,
        usage=[],
        iva_basis_points=2100,
    )

    assert charges.lines == ()
    assert charges.gross == Money(0, "EUR")


def test_units_in_another_currency_than_the_fee_are_refused() -> None:
    with pytest.raises(CurrencyMismatchError):
        calculate_usage_charges(
            Month(2026, 11),
            MADRID,
            fee=Money(1, "EUR"),
            delivered=[],
            usage=[MeteredUsage(unit="km", quantity=1, unit_price=Money(1, "USD"))],
            iva_basis_points=0,
        )


@pytest.mark.parametrize(
    ("at", "counted"),
    [
        ("2026-11-05T09:59", False),
        ("2026-11-05T10:00", True),
        ("2026-11-06T09:59", True),
        ("2026-11-06T10:00", False),
        ("2026-11-07T12:00", True),
    ],
)
def test_use_outside_delivered_time_is_not_billed(at: str, *, counted: bool) -> None:
    delivered = [
        _delivered("2026-11-05T10:00", "2026-11-06T10:00"),
        _delivered("2026-11-07T00:00"),
    ]

    assert was_delivered(_at(at), delivered) is counted


def test_an_instant_without_a_time_zone_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        Month.containing(_at("2026-11-01T00:00").replace(tzinfo=None), MADRID)
