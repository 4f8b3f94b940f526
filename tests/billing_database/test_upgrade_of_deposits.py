"""A database from before the policy about lost deposits was a decision, and secrets encrypted."""

import asyncpg

from caas.billing_database import migrations
from caas.billing_database.identifiers import new_id
from caas.billing_database.laws import LAWS
from tests.billing_database.test_upgrade_to_entitlements import old_database
from tests.databases import named

LOST = """
with o as (
  insert into orders (id, customer, model, dealership, deposit, price, currency, state, version,
      created_at, updated_at)
  values ($1, $1, 'Uno', 'Madrid', 500, 9000, 'EUR', 'reservation lost', 1, now(), now())
)
insert into payments (id, type, subject, customer, amount, currency, state, version, event_hash,
    captured_amount, created_at, updated_at)
values ($2, 'reservation', $1, $1, 500, 'EUR', $3, 1, '', 500, now(), now())
"""
REFUND = """
insert into refunds (id, payment_id, amount, currency, reason, requested_by, state, created_at,
    updated_at)
values ($1, $2, 500, 'EUR', 'reservation_lost', 'caas', 'succeeded', now(), now())
"""
JOB = """
insert into open_work (kind, subject, due_at, created_at) values ('give_back', $1, now(), now())
"""
SUBSCRIBED = """
insert into event_subscriptions (id, url, secret, created_by, created_at, ended_at)
values ($1, 'https://a.example/', 'whsec_' || repeat('QUJD', 11), 'ops', now(),
        case when $2 then now() end)
"""
(SUMS,) = [law.query for law in LAWS if law.name == "tables_are_as_written"]


async def test_what_was_asked_to_go_back_goes_back_and_ended_subscriptions_keep_no_secret(
    server_dsn: str,
) -> None:
    old = await old_database(server_dsn, "caas_before_policies", before="0047")
    await old.execute("set session_replication_role = replica")
    orders, payments = [new_id() for _ in range(4)], [new_id() for _ in range(4)]
    for order, payment, state in zip(
        orders, payments, ("Settled", "Settled", "Refunding", "Refunded"), strict=True
    ):
        await old.execute(LOST, order, payment, state)
    await old.execute(REFUND, new_id(), payments[0])
    await old.execute(JOB, orders[1])
    for ended in (True, False):
        await old.execute(SUBSCRIBED, new_id(), ended)
    await old.close()

    dsn = named(server_dsn, "caas_before_policies")
    await migrations.migrate(dsn)

    new = await asyncpg.connect(dsn, server_settings={"search_path": "caas,public"})
    decided = await new.fetch("select payment_id, decision from deposit_decisions where by_policy")
    assert {row["payment_id"]: row["decision"] for row in decided} == {
        payments[0]: "refund", payments[1]: "refund", payments[2]: "keep",
    }  # fmt: skip
    kept = await new.fetch("select ended_at is null as runs, secret from event_subscriptions")
    assert {row["runs"]: row["secret"] is not None for row in kept} == {True: True, False: False}
    wrong = [row[0] for row in await new.fetch(SUMS)]
    assert not [it for it in wrong if it.startswith(("deposit_decisions", "event_subscriptions"))]
    await new.close()
