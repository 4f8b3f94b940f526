"""The schema's owner can write any amount anywhere; the invariants name every such edit.

A payment is lived with a refund, disputes that are open, lost and above what was left; then one
figure is changed by plain SQL, its guards asleep, and the laws are asked. What is planted is rolled
back, so that each contradiction stands alone.
"""

import asyncpg
import pytest
from msgspec.structs import replace

from caas.billing_database import connection
from caas.billing_database.invariants import INVARIANTS
from caas.external_systems.payment_gateway import DisputeStatus, GatewayDispute
from caas.payment_processing.disputes import Disputes
from tests.databases import over_everything
from tests.installation import Installation, standing
from tests.payment_processing.test_refunds import refund_order

MONEY = {
    "ledger_agrees_with_payments", "amounts_are_folds_of_events", "outgoing_money_is_in_rows",
    "accounts_match_the_rules", "provider_accounts_match_the_rules",
    "never_more_back_than_received",
    "earned_payments_are_taxed", "output_vat_is_the_tax_on_revenue", "every_day_has_one_rate",
}  # fmt: skip
ENTRY = (
    "insert into ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
    " select id, version, '{}', '{}', 7, currency, now() from payments"
)
LEDGER, EVENTS, ROWS = (
    "ledger_agrees_with_payments", "amounts_are_folds_of_events", "outgoing_money_is_in_rows",
)  # fmt: skip
PROVIDER = "provider_accounts_match_the_rules"
TAXED, TAX = "earned_payments_are_taxed", "output_vat_is_the_tax_on_revenue"
PLANTED: list[tuple[str, set[str]]] = [
    *(
        (f"update payments set {name}_amount = {name}_amount - 1", {LEDGER, EVENTS})
        for name in ("authorized", "captured", "settled", "refunded", "disputed")
    ),
    ("update payments set settled_amount = settled_amount + 1000000", {LEDGER, EVENTS}),
    *(
        (
            "update payment_events set facts = jsonb_set(facts, '{amounts," + name + "}', '1')"
            f" where facts->'amounts' ? '{name}'",
            {EVENTS},
        )
        for name in ("authorized", "captured", "settled", "refunded", "disputed")
    ),
    ("update payment_events set facts = facts - 'amounts'", {EVENTS}),
    (ENTRY.format("gateway_receivable", "service_revenue"), {LEDGER, TAX}),
    (ENTRY.format("settled_funds", "gateway_receivable"), {LEDGER}),
    (ENTRY.format("refunds_payable", "settled_funds"), {LEDGER, ROWS}),
    (ENTRY.format("risk_loss:chargeback", "disputed_funds"), {LEDGER, ROWS}),
    (ENTRY.format("risk_loss:dispute_excess", "settled_funds"), {ROWS}),
    (ENTRY.format("disputed_funds", "settled_funds"), {ROWS}),
    (ENTRY.format("a_pocket", "settled_funds"), {"accounts_match_the_rules"}),
    ("delete from ledger_entries where debit = 'gateway_receivable'", {LEDGER}),
    ("update ledger_entries set amount = amount + 1 where debit = 'refunds_payable'", {LEDGER}),
    ("update refunds set amount = amount - 1", {ROWS}),
    ("update refunds set state = 'failed'", {ROWS}),
    ("delete from refunds", {ROWS}),
    ("update disputes set amount = amount - 1 where state = 'lost'", {ROWS}),
    ("update disputes set state = 'won' where state = 'lost'", {ROWS}),
    ("update disputes set state = 'won' where state = 'opened'", {ROWS}),
    ("delete from disputes where state = 'opened'", {ROWS}),
    ("update disputes set claimed_amount = claimed_amount + 9 where state = 'opened'", {ROWS}),
    ("delete from payment_taxes", {TAXED, TAX}),
    ("update payment_taxes set tax = tax - 1", {TAX}),
    ("update payment_taxes set gross = gross + 1", {TAXED}),
    ("update payment_taxes set supplied_on = '1999-01-01'", {TAXED}),
    ("delete from ledger_entries where 'output_vat' in (debit, credit)", {TAX}),
    ("update ledger_entries set amount = amount + 1 where debit = 'output_vat'", {TAX}),
    (
        "update tax_rates set valid = daterange('2012-09-01', '2020-01-01') where market = 'ES'",
        {TAXED, "every_day_has_one_rate"},
    ),
    ("delete from ledger_accounts where name = 'bank'", {"accounts_match_the_rules"}),
    ("insert into ledger_accounts values ('a_pocket')", {"accounts_match_the_rules"}),
    ("update provider_accounts set account = 'bank' where class = 'reserve'", {PROVIDER}),
    ("delete from provider_accounts where class = 'conversion'", {PROVIDER}),
]


async def lived(installation: Installation) -> None:
    """Live a payment of 1299: 300 refunded, 500 lost, 700 argued about, of which 499 are left."""
    await installation.car()
    await installation.offer_heated_seats()
    payment = await installation.settled()
    await refund_order(installation, payment, 300)
    reported = GatewayDispute(
        id="dp_lost",
        transaction_id=payment.gateway_transaction_id or "",
        amount=500,
        currency="EUR",
        status=DisputeStatus.LOST,
    )
    investigation = Disputes(installation.platform.tables)
    await investigation.on_event("contract", reported)
    argued = replace(reported, id="dp_argued", amount=700, status=DisputeStatus.OPENED)
    await investigation.on_event("contract", argued)


async def broken(owner: asyncpg.Connection) -> set[str]:
    """Return which laws of money are broken."""
    return {
        invariant.name
        for invariant in INVARIANTS
        if invariant.name in MONEY and await owner.fetch(over_everything(invariant.query))
    }


async def test_every_figure_of_money_that_is_edited_is_found(database_dsn: str) -> None:
    tables = await connection.connect(database_dsn)
    owner = await asyncpg.connect(database_dsn)
    async with standing(tables) as installation:
        await lived(installation)
        await installation.platform.issuing.issue_due()
    await owner.execute("set search_path = caas, public")
    whole = await broken(owner)

    missed = []
    for statement, invariants in PLANTED:
        transaction = owner.transaction()
        await transaction.start()
        for row in await owner.fetch(
            "select c.relname from pg_class c where c.relnamespace = 'caas'::regnamespace"
            " and c.relkind = 'r' and c.relhastriggers"
        ):
            await owner.execute(f"alter table {row['relname']} disable trigger all")
        for table, bound in (
            ("payments", "settled_within_captured"),
            ("payments", "given_back_within_captured"),
            ("disputes", "counts_no_more_than_claimed"),
        ):
            await owner.execute(f"alter table {table} drop constraint {bound}")
        changed = await owner.execute(statement)
        found = await broken(owner)
        if changed.endswith(" 0") or not invariants <= found:
            missed.append((statement, changed, sorted(found)))
        await transaction.rollback()

    await owner.close()
    await tables.close()
    assert whole == set()
    assert missed == []


@pytest.mark.parametrize("bound", ["settled_within_captured", "given_back_within_captured"])
async def test_the_bounds_of_a_payment_are_checked_rows_of_old_included(
    database_dsn: str, bound: str
) -> None:
    owner = await asyncpg.connect(database_dsn)
    row = await owner.fetchrow("select convalidated from pg_constraint where conname = $1", bound)
    await owner.close()

    assert row is not None
    assert row["convalidated"]
