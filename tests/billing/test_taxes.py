"""Tax rates as data, the market of a sale, and the tax in what is earned (decision 121)."""

import random
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace

from caas import startup_checks
from caas.billing_database import self_check
from caas.billing_database.connection import Database
from caas.billing_database.customers import Customers, NoTaxTableError
from caas.billing_database.identifiers import new_id
from caas.billing_database.tax_rates import (
    InvalidTaxRateError,
    TaxMarket,
    TaxRate,
    TaxRateNotFoundError,
    TaxRates,
    UnknownMarketError,
)
from caas.errors import StartupError
from caas.rules.market import Goods, TaxCategory, tax_in, tax_left
from caas.rules.mes_vencido import Month
from caas.settings import read_market
from tests.billing.months import MADRID, Past, put
from tests.business_day import business_day
from tests.subscription_installation import SubscriptionInstallation, set_clock

ADDRESS = """
insert into billing_details (customer, name, street, postcode, city, country, updated_at)
values ($1, 'Ana', 'Calle Mayor 1', $2, 'Somewhere', $3, db_now())
"""


async def as_owner(database: Database, statement: str) -> None:
    admin = await asyncpg.connect(database.dsn, server_settings={"search_path": "caas,public"})
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


async def violated_invariants(database: Database) -> set[str]:
    return {found.invariant.name for found in await self_check.self_check(database) if found.broken}


async def test_the_project_brings_the_rates_of_its_markets(database: Database) -> None:
    rates = TaxRates(database)

    today = {
        code: (rate.name, rate.category, rate.basis_points)
        for code in ("ES", "ES-CN", "PT", "CL", "KW")
        for goods in Goods
        if (rate := await rates.on(code, goods))
    }
    before_igic_rose = await rates.on("ES-CN", Goods.SERVICE, date(2019, 12, 31))

    assert today == {
        "ES": ("IVA", "S", 2100),
        "ES-CN": ("IGIC", "L", 700),
        "PT": ("IVA", "S", 2300),
        "CL": ("IVA", "S", 1900),
        "KW": ("VAT", "O", 0),
    }
    assert before_igic_rose is None


async def test_the_database_works_taxes_out_as_the_rules_do(database: Database) -> None:
    chance = random.Random(58)
    cases = [
        (gross, basis_points, tax_in(gross, basis_points), chance.randint(0, gross))
        for gross in (1, 2, 99, 1299, 10**13, *(chance.randint(1, 10**9) for _ in range(300)))
        for basis_points in (0, 700, 2100, 3333, chance.randint(50, 10_000))
    ]

    rows = await database.fetch(
        "select tax_in(g, b) as tax, tax_left(t, l, g) as rest"
        " from unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[])"
        " with ordinality as w(g, b, t, l, i) order by i",
        *map(list, zip(*cases, strict=True)),
    )

    assert [tuple(row.values()) for row in rows] == [
        (tax, tax_left(tax, left=left, of=gross)) for gross, _, tax, left in cases
    ]


async def test_a_rate_follows_on_a_day_to_come_and_the_past_never_changes(
    database: Database,
) -> None:
    rates = TaxRates(database)
    today = business_day()
    rise = TaxRate(market="PT", goods=Goods.SERVICE, first_day=today + timedelta(days=40),
                   category=TaxCategory.STANDARD, basis_points=2400, name="IVA")  # fmt: skip

    await rates.change(rise, by="olga")

    held = await rates.on("PT", Goods.SERVICE, today + timedelta(days=39))
    holds = await rates.on("PT", Goods.SERVICE, today + timedelta(days=40))
    assert held is not None
    assert holds is not None
    assert (held.basis_points, held.next_begins, holds) == (2300, rise.first_day, rise)
    for too_early in (today, today - timedelta(days=400), today + timedelta(days=20)):
        with pytest.raises(InvalidTaxRateError, match="a day to come"):
            await rates.change(TaxRate(market="PT", goods=Goods.SERVICE, first_day=too_early,
                category=TaxCategory.STANDARD, basis_points=100, name="IVA"),
                by="olga")  # fmt: skip
    with pytest.raises(UnknownMarketError):
        await rates.change(TaxRate(market="XX", goods=Goods.SERVICE, first_day=rise.first_day,
            category=TaxCategory.STANDARD, basis_points=100, name="IVA"), by="olga")  # fmt: skip
    for statement in (
        "update tax_rates set basis_points = 1 where market = 'ES'",
        "update tax_rates set valid = daterange('2012-09-01', '2020-01-01') where market = 'ES'",
        "delete from tax_rates",
        "delete from markets",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await as_owner(database, statement)


async def test_a_rate_to_come_is_replaced_or_withdrawn_and_a_begun_one_never_changes(
    database: Database,
) -> None:
    """A mistake in a rate that was to begin in December could not be corrected before it began."""
    rates, begins = TaxRates(database), business_day() + timedelta(days=40)
    mistaken = TaxRate(market="PT", goods=Goods.SERVICE, first_day=begins,
                       category=TaxCategory.STANDARD, basis_points=2450, name="IVA")  # fmt: skip
    right = replace(mistaken, basis_points=2400)

    assert await rates.change(mistaken, by="olga") is None
    assert await rates.change(right, by="eva") == 2450
    assert await rates.on("PT", Goods.SERVICE, begins) == right
    later = replace(mistaken, first_day=begins + timedelta(days=30))
    await rates.change(later, by="olga")
    await rates.withdraw("PT", Goods.SERVICE, begins, by="eva")

    held = await rates.on("PT", Goods.SERVICE, begins)
    assert held is not None
    assert (held.basis_points, held.next_begins) == (2300, later.first_day)
    assert [(it.basis_points, it.first_day, it.withdrawn_by) for it in await rates.withdrawn()] == [
        (2450, begins, "eva"), (2400, begins, "eva"),
    ]  # fmt: skip
    with pytest.raises(TaxRateNotFoundError):
        await rates.withdraw("PT", Goods.SERVICE, begins, by="eva")
    with pytest.raises(InvalidTaxRateError, match="has begun"):
        await rates.withdraw("PT", Goods.SERVICE, held.first_day, by="eva")
    for statement in (
        "update tax_rates set valid = 'empty', planned = valid, withdrawn_at = now(),"
        " withdrawn_by = 'x' where market = 'ES'",
        "update tax_rates set valid = planned, planned = null, withdrawn_at = null,"
        " withdrawn_by = null where isempty(valid)",
        "update tax_rates set basis_points = 100 where lower(valid) > current_date",
        "update tax_rates set withdrawn_by = 'y' where isempty(valid)",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await as_owner(database, statement)


@pytest.mark.parametrize(
    ("category", "basis_points", "reason"),
    [("S", 0, ""), ("S", 20, ""), ("O", 0, ""), ("Z", 2100, ""), ("S", 2100, "Because.")],
)
async def test_a_rate_that_contradicts_itself_is_refused(
    database: Database, category: str, basis_points: int, reason: str
) -> None:
    rate = TaxRate(market="ES", goods=Goods.VEHICLE, first_day=date(2099, 1, 1),
                   category=TaxCategory(category), basis_points=basis_points, name="IVA",
                   reason=reason)  # fmt: skip

    with pytest.raises(InvalidTaxRateError):
        await TaxRates(database).change(rate, by="olga")


async def test_a_market_without_rates_does_not_start(database: Database) -> None:
    cape_verde = read_market("Atlantic/Cape_Verde,EUR,es")
    with pytest.raises(StartupError, match="Atlantic/Cape_Verde"):
        await startup_checks.check_market(database, cape_verde)

    added = TaxMarket("CV", "Cape Verde", "CV", [], "Atlantic/Cape_Verde", "EUR", 0,
                   buyer_tax_id=False, documents_kept_years=10)  # fmt: skip
    await TaxRates(database).add_market(added)
    with pytest.raises(StartupError, match="CV has no tax rate for: service, subscription"):
        await startup_checks.check_market(database, cape_verde)

    for text, code in (("Atlantic/Canary,EUR,es", "ES-CN"), ("Europe/Madrid,EUR,es,PT", "PT")):
        assert await startup_checks.check_market(database, read_market(text)) == code


@pytest.mark.parametrize(
    ("country", "postcode"),
    [("FR", "75001"), ("US", "10001"), ("ES", "51001"), ("ES", "52001"), ("PT", "9000-001"),
     ("PT", "9500-150")],
)  # fmt: skip
async def test_an_address_without_a_tax_table_falls_under_nobodys_rates(
    database: Database, country: str, postcode: str
) -> None:
    customers, buyer = Customers(database), new_id()
    await customers.add(buyer, name="Ana", email="ana@example.com", language="es")
    assert (await customers.buyer(buyer)).id == buyer

    await database.fetch(ADDRESS, buyer, postcode, country)
    with pytest.raises(NoTaxTableError, match=f"{country}, postcode {postcode}") as refused:
        await customers.buyer(buyer)
    rate = await TaxRates(database).of_customer(buyer, Goods.SERVICE)
    await database.fetch(
        "update billing_details set country = 'PT', postcode = '8000-075' where customer = $1",
        buyer,
    )

    assert "./caas taxes add-market" in refused.value.sentence
    assert rate is None
    assert (await customers.buyer(buyer)).id == buyer


async def test_a_market_that_operations_wrote_sells_where_ours_has_no_rates(
    database: Database,
) -> None:
    rates = TaxRates(database)
    await rates.add_market(TaxMarket("ES-ZZ", "Ceuta", "ES", ["51"], "Africa/Ceuta", "EUR", 0,
                                  buyer_tax_id=True, documents_kept_years=6))  # fmt: skip
    customers, buyer = Customers(database), new_id()
    await customers.add(buyer, name="Ana", email="ana@example.com", language="es")
    await database.fetch(ADDRESS, buyer, "51001", "ES")
    for goods in Goods:
        with pytest.raises(NoTaxTableError):
            await customers.buyer(buyer)
        await rates.change(TaxRate(market="ES-ZZ", goods=goods, first_day=date(2020, 1, 1),
            category=TaxCategory.IPSI, basis_points=1000, name="IPSI"), by="olga")  # fmt: skip

    rate = await rates.of_customer(buyer, Goods.SERVICE)

    assert (await customers.buyer(buyer)).id == buyer
    assert rate is not None
    assert (rate.market, rate.basis_points) == ("ES-ZZ", 1000)


async def test_a_month_of_somebody_who_moved_away_is_a_case_and_no_invoice(
    database: Database, installation: SubscriptionInstallation
) -> None:
    since = datetime(2031, 5, 5, tzinfo=UTC)
    pasts = [Past(activated_at=since) for _ in range(3)]
    stays, transitioned, left = sorted(pasts, key=lambda past: past.id)
    await put(database, pasts)
    await database.fetch(ADDRESS, transitioned.id, "75001", "FR")
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))

    await installation.billing.run_month(Month.parse("2032-02"))

    numbers = [
        one.number
        for it in (stays, left)
        for one in await installation.invoices.listed(subject=it.id)
    ]
    assert numbers == [1, 2]
    assert await installation.invoices.listed(subject=transitioned.id) == []
    (case,) = await installation.tables.cases.listed(subject=transitioned.id)
    assert case.kind == "month_without_tax_table"
    assert await violated_invariants(database) == set()


async def test_a_month_that_was_not_invoiced_is_when_its_run_is_begun_again(
    database: Database, installation: SubscriptionInstallation
) -> None:
    """One moved where there is no table, another uses more than a document without buyer allows."""
    since, in_march = datetime(2031, 5, 5, tzinfo=UTC), datetime(2032, 3, 1, 12, tzinfo=MADRID)
    plain, transitioned = Past(activated_at=since), Past(activated_at=since)
    heavy = Past(
        activated_at=since, metered=(("kWh", 100),),
        used=(("kWh", 400, datetime(2032, 2, 9, tzinfo=UTC)),),
    )  # fmt: skip
    await put(database, [plain, transitioned, heavy])
    await database.fetch(ADDRESS, transitioned.id, "75001", "FR")
    await set_clock(database, in_march)
    february = Month.parse("2032-02")

    first = await installation.billing.run_month(february)
    cases = {case.subject: case.kind for case in await installation.tables.cases.listed()}
    broken = [await violated_invariants(database)]
    nothing_new = await installation.billing.run_again(february)
    await database.fetch(
        "update billing_details set country = 'PT' where customer = $1", transitioned.id
    )
    await database.fetch(ADDRESS, heavy.id, "28013", "ES")
    await database.fetch(
        "update billing_details set tax_id = '12345678Z' where customer = $1", heavy.id
    )
    again = await installation.billing.run_again(february)
    broken.append(await violated_invariants(database))

    assert (first.invoices, first.charges) == (1, 1)
    assert cases == {transitioned.id: "month_without_tax_table", heavy.id: "month_without_buyer"}
    assert (nothing_new.invoices, nothing_new.charges) == (1, 1)
    assert (again.invoices, again.charges, again.seen) == (3, 3, 3)
    (dear,) = await installation.invoices.listed(subject=heavy.id)
    assert (dear.gross, dear.simplified) == (43_100, False)
    assert await installation.tables.cases.listed() == []
    assert broken == [set(), set()]


async def test_a_month_falls_under_the_rate_of_its_last_day_where_its_customer_is(
    database: Database, installation: SubscriptionInstallation
) -> None:
    """The rate rises in the middle of February; who left before still falls under the old one."""
    since = datetime(2031, 5, 5, tzinfo=UTC)
    stays, left, islander = Past(activated_at=since), Past(
        activated_at=since, cancelled_at=datetime(2032, 2, 10, 12, tzinfo=MADRID)
    ), Past(activated_at=since)  # fmt: skip
    await put(database, [stays, left, islander])
    await database.fetch(ADDRESS, islander.id, "35001", "ES")
    await TaxRates(database).change(
        TaxRate(market="ES", goods=Goods.SUBSCRIPTION, first_day=date(2032, 2, 16),
                category=TaxCategory.STANDARD, basis_points=2300, name="IVA"),
        by="olga")  # fmt: skip
    await set_clock(database, datetime(2032, 3, 1, 12, tzinfo=MADRID))

    await installation.billing.run_month(Month.parse("2032-02"))

    for past, basis_points in ((stays, 2300), (left, 2100), (islander, 700)):
        (invoice,) = await installation.invoices.listed(subject=past.id)
        assert invoice.iva_basis_points == basis_points
        assert invoice.iva == tax_in(invoice.gross, basis_points)
        assert invoice.net + invoice.iva == invoice.gross
