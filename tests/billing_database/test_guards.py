"""What PostgreSQL itself refuses, whoever asks: the owner of the schema asks here.

The guards are the last protection, behind the one door: a charge without its proof, a second
verdict, a state that no event leads to, a past that is changed. Each statement is one that a bug,
or a person in a hurry, could send; a payment of each kind is there to be harmed.

A check that is null lets a row pass: a verified acknowledgement without any signature was taken for
the vehicle's word, and a service could have been charged for with it. So could it with a word that
answered another command: what a vehicle says of a deactivation proves no delivery. And so could it
with a claim that called the service a reservation, because the kind of evidence followed from what
the claim said of its payment, and not from the payment.

Whoever may say that their session replicates passed by every guard, the keys between tables
included. And what nobody had thought of as history could be changed: an answer given under a key, a
case, what a customer was told, a key that was revoked, the arrows that say what may move.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from caas.billing_database import connection, self_check
from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payments
from caas.billing_database.transitions import PaymentTransitions
from caas.rules.payment_types import PaymentType
from tests import cars, empty_tables
from tests.billing_database.test_transitions import (
    AMOUNT,
    VIN,
    activation_of,
    authorized,
    capture_of,
    new_payment,
    service_of,
    succeeded,
)
from tests.databases import fresh_database

HELD, TAKEN, DEPOSIT = new_id(), new_id(), new_id()
PROOF, REFUSED_PROOF, FAILED_PROOF, ORDERED = new_id(), new_id(), new_id(), new_id()
SWITCHED_OFF, SWITCHED_OFF_BY, CASE, CUSTOMER = new_id(), new_id(), new_id(), new_id()
REFUND = (
    "insert into caas.refunds (id, payment_id, gateway, amount, currency, reason, requested_by,"
    " state, created_at, updated_at) values "
)
DISPUTE = (
    "insert into caas.disputes (gateway, id, payment_id, amount, currency, claimed_amount,"
    " claimed_currency, state, reason, opened_at, updated_at) values "
)
SOLD = "insert into caas.service_orders "
CLAIM = (
    "insert into caas.resolution_claims (payment_id, payment_type, kind, reason, evidence_id,"
    " evidence_kind, proves_delivery, claimed_at) values "
)
SERVICE = "heated-seats"
REPORT = new_id()
HEARD = (
    "insert into caas.delivery_evidence (id, subject, kind, command_id, action, epoch, vin,"
    " service, status, at, signature, verified, refused_because, recorded_at) "
)
ANSWERED = f"""
{HEARD} select $1, subject, 'vehicle_acknowledgement', command_id, action, epoch, vin, service, $2,
       $3, $4, true, null, now() from caas.ota_commands where command_id = $5
"""
THERE = f"""
insert into caas.services (code, name, kind, currency, updated_at)
values ('{SERVICE}', 'Heated seats', 'one_time', 'EUR', now());
insert into caas.cases (id, kind, subject, sentence, status, opened_at, resolved_at, resolution,
  owner)
values ('{CASE}', 'k', '{new_id()}', 's', 'resolved', now(), now(), 'Seen.', 'olga');
insert into caas.customers (id, language, created_at, erased_at)
values ('{CUSTOMER}', 'es', now(), now());
insert into caas.api_keys (id, key_hash, name, scopes, created_at, revoked_at)
values ('{new_id()}', sha256('k'), 'k', '{{any}}', now(), now());
insert into caas.invoice_series (series) values ('2026');
insert into caas.notifications (id, audience, recipient, template, subject, facts, created_at)
values ('{new_id()}', 'customer', '{CUSTOMER}', 'payment_failed', '{new_id()}', '{{}}', now());
update caas.notifications set sent_at = now();
insert into caas.accounts (id, role, login, password_hash, created_at, password_set_at)
values ('{CUSTOMER}', 'operations', 'ana', '$argon2id$', now(), now());
insert into caas.sessions values (sha256('s'), '{CUSTOMER}', now(), now(), now(), now(), now());
insert into caas.idempotency_keys (caller, key_hash, request_hash, answer_status, created_at)
values ('c', 'k', 'r', 201, now());
"""
SIGNED, SIGNED_AGAIN = "decode(repeat('61', 64), 'hex')", "decode(repeat('62', 64), 'hex')"
ACK = "'vehicle_acknowledgement'"
CHECK, FOREIGN, UNIQUE, FOR_EVER, RIGHTS = (
    asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError,
    asyncpg.RestrictViolationError, asyncpg.InsufficientPrivilegeError,
)  # fmt: skip
REFUSED: dict[str, tuple[str, type[Exception]]] = {
    "a charge without evidence": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', null, null, null, now())", CHECK),
    "a charge with evidence that is not there": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{new_id()}', {ACK}, true, now())",
        FOREIGN),
    "a charge with another payment's evidence": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{PROOF}', {ACK}, true, now())", FOREIGN),
    "a charge with a refused acknowledgement": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{REFUSED_PROOF}', {ACK}, true, now())",
        FOREIGN),
    "a charge with a vehicle's word that it failed": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{FAILED_PROOF}', {ACK}, true, now())",
        FOREIGN),
    "a charge with a vehicle's word that it switched off": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{SWITCHED_OFF}', {ACK}, true, now())",
        FOREIGN),
    "a service charged as if it were a reservation": (
        f"{CLAIM} ('{HELD}', 'reservation', 'void', 'x', null, null, null, now())", FOREIGN),
    "a reservation that was recorded of a service": (
        f"{HEARD} values ('{new_id()}', '{HELD}', 'reservation_recorded', null, null, null, null,"
        " null, 'SUCCEEDED', 'now', null, true, null, now())", FOREIGN),
    "an order confirmed of a reservation": (
        f"{HEARD} values ('{new_id()}', '{DEPOSIT}', 'order_confirmed', null, null, null, null,"
        " null, 'SUCCEEDED', 'now', null, true, null, now())", FOREIGN),
    "a claim on no payment": (
        f"{CLAIM} ('{new_id()}', 'service', 'void', 'x', null, null, null, now())", FOREIGN),
    "a word about a command that nobody gave": (
        f"{HEARD} values ('{new_id()}', '{HELD}', {ACK}, '{new_id()}', 'activate', 1, 'V', 's',"
        f" 'SUCCEEDED', 'now', {SIGNED}, true, null, now())", FOREIGN),
    "a word about another payment's command": (
        f"{HEARD} select '{new_id()}', '{HELD}', {ACK}, command_id, action, epoch, vin, service,"
        f" 'SUCCEEDED', 'now', {SIGNED}, true, null, now() from caas.ota_commands"
        f" where subject = '{TAKEN}'", FOREIGN),
    "a deactivation that passes for an activation": (
        f"{HEARD} select '{new_id()}', '{HELD}', {ACK}, command_id, 'activate', epoch, vin,"
        f" service, 'SUCCEEDED', 'now', {SIGNED_AGAIN}, true, null, now() from caas.ota_commands"
        " where action = 'deactivate'", FOREIGN),
    "a charge that says its proof proves nothing": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{FAILED_PROOF}', {ACK}, false, now())",
        CHECK),
    "a service charged with an order's evidence": (
        f"{CLAIM} ('{HELD}', 'service', 'capture', 'x', '{ORDERED}', 'order_confirmed', true,"
        " now())", CHECK),
    "a void of what is captured": (
        f"{CLAIM} ('{TAKEN}', 'service', 'void', 'x', null, null, null, now())", UNIQUE),
    "an acknowledgement without a signature": (
        f"{HEARD} values ('{new_id()}', '{HELD}', {ACK}, '{new_id()}', 'activate', 1, 'V', 's',"
        " 'SUCCEEDED', 'now', null, true, null, now())", CHECK),
    "an acknowledgement with a short signature": (
        f"{HEARD} values ('{new_id()}', '{HELD}', {ACK}, '{new_id()}', 'activate', 1, 'V', 's',"
        " 'SUCCEEDED', 'now', 'short', true, null, now())", CHECK),
    "an acknowledgement both verified and refused": (
        f"{HEARD} values ('{new_id()}', '{HELD}', {ACK}, '{new_id()}', 'activate', 1, 'V', 's',"
        f" 'SUCCEEDED', 'now', {SIGNED}, true, 'forged', now())", CHECK),
    "a state that is only written down": (
        f"update caas.payments set state = 'Settled' where id = '{HELD}'", CHECK),
    "a state with a version and no event": (
        "update caas.payments set state = 'Capturing', came_from = state, version = version + 1"
        f" where id = '{HELD}'", CHECK),
    "another amount": (f"update caas.payments set amount = 1 where id = '{HELD}'", CHECK),
    "another gateway": (
        f"update caas.payments set gateway = 'other' where id = '{HELD}'", CHECK),
    "another customer": (
        f"update caas.payments set customer = '{new_id()}' where id = '{HELD}'", CHECK),
    "another transaction of the gateway": (
        "update caas.payments set gateway_transaction_id = 'txn_other', version = version + 1,"
        f" came_from = state where id = '{HELD}'", CHECK),
    "more captured than asked for": (
        f"update caas.payments set captured_amount = {AMOUNT + 1} where id = '{HELD}'", CHECK),
    "a payment that begins in the middle": (
        "insert into caas.payments select (jsonb_populate_record(p, jsonb_build_object("
        f"'id', '{new_id()}', 'subject', '{new_id()}'))).* from caas.payments p where"
        f" id = '{TAKEN}'", asyncpg.PostgresError),
    "a payment at another date": (
        f"update caas.payments set created_at = now() - interval '1 day' where id = '{HELD}'",
        CHECK),
    "more given back than was received": (
        f"{REFUND} ('{new_id()}', '{TAKEN}', 'contract', {AMOUNT + 1}, 'EUR', 'x', 'me',"
        " 'waiting', now(), now())", CHECK),
    "money given back that never came": (
        f"{REFUND} ('{new_id()}', '{HELD}', 'contract', 1, 'EUR', 'x', 'me', 'waiting', now(),"
        " now())", CHECK),
    "money given back in another currency": (
        f"{REFUND} ('{new_id()}', '{TAKEN}', 'contract', 1, 'JPY', 'x', 'me', 'waiting', now(),"
        " now())", FOREIGN),
    "a dispute in another currency": (
        f"{DISPUTE} ('contract', 'd', '{TAKEN}', 1, 'JPY', 1, 'JPY', 'opened', 'x', now(),"
        " now())", FOREIGN),
    "a dispute that counts more than was received": (
        f"{DISPUTE} ('contract', 'd', '{TAKEN}', {AMOUNT + 1}, 'EUR', {AMOUNT + 1}, 'EUR',"
        " 'opened', 'x', now(), now())", CHECK),
    "a dispute that counts more than it claims": (
        f"{DISPUTE} ('contract', 'd', '{TAKEN}', 2, 'EUR', 1, 'EUR', 'opened', 'x', now(),"
        " now())", CHECK),
    "more settled than captured": (
        f"update caas.payments set settled_amount = captured_amount + 1 where id = '{TAKEN}'",
        CHECK),
    "more refunded and disputed than captured": (
        f"update caas.payments set refunded_amount = {AMOUNT}, disputed_amount = 1"
        f" where id = '{TAKEN}'", CHECK),
    "an entry on an account that nobody opened": (
        "insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{TAKEN}', 9, 'bank', 'a_pocket', 1, 'EUR', now())", FOREIGN),
    "an account that somebody opens": (
        "insert into caas.ledger_accounts values ('a_pocket')", FOR_EVER),
    "an account that somebody closes": ("delete from caas.ledger_accounts", FOR_EVER),
    "an arrow that Diagram 9 does not have": (
        "insert into caas.payment_transitions values ('Bank confirms', 'Failed', 'Settled')",
        FOR_EVER),
    "another way for a vehicle": (
        "update caas.vehicle_transitions set to_state = 'delivered'", FOR_EVER),
    "another way for an order": ("delete from caas.order_transitions", FOR_EVER),
    "another class for a refusal": (
        "update caas.refusal_codes set class = 'decline'", FOR_EVER),
    "another way for a subscription": ("delete from caas.subscription_transitions", FOR_EVER),
    "an answer that is forgotten": ("delete from caas.idempotency_keys", FOR_EVER),
    "another answer to the same key": (
        "update caas.idempotency_keys set answer_status = 402", FOR_EVER),
    "a key for another request": (
        "update caas.idempotency_keys set request_hash = 'x'", FOR_EVER),
    "a case that is about something else": (
        f"update caas.cases set subject = '{new_id()}' where id = '{CASE}'", CHECK),
    "a case that is opened again": (
        f"update caas.cases set status = 'open', resolved_at = null where id = '{CASE}'", CHECK),
    "a vehicle that signs with another key": (
        f"update caas.vehicles set public_key = sha256('x') where vin = '{VIN}'", CHECK),
    "a customer who comes back": (
        "update caas.customers set name = 'Ana', email = 'ana@example.com', erased_at = null",
        CHECK),
    "a service sold to nobody": (
        f"{SOLD} values ('{new_id()}', '{new_id()}', '{VIN}', '{SERVICE}', 30, 1, 'EUR', now())",
        FOREIGN),
    "a service sold for no vehicle": (
        f"{SOLD} values ('{new_id()}', '{CUSTOMER}', 'NOVIN', '{SERVICE}', 30, 1, 'EUR', now())",
        FOREIGN),
    "a customer of another dealership": (
        "update caas.customers set dealership = 'Motor Norte'", CHECK),
    "a key that is no longer revoked": ("update caas.api_keys set revoked_at = null", CHECK),
    "a number that is left out": ("update caas.invoice_series set next = next + 1", CHECK),
    "something else that a customer was told": (
        "update caas.notifications set template = 'payment_confirmed'", CHECK),
    "a session that goes on": ("update caas.sessions set ended_at = null", CHECK),
    "an entry of nothing": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'bank', 'gateway_fees', 0, 'EUR', now())", CHECK),
    "an entry from an account to itself": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'bank', 'bank', 1, 'EUR', now())", CHECK),
    "an entry in another currency": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'bank', 'gateway_fees', 1, 'JPY', now())", FOREIGN),
    "an entry of nobody's": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{new_id()}', 9, 'bank', 'gateway_fees', 1, 'EUR', now())", FOREIGN),
}  # fmt: skip
KEPT_FOR_EVER = (
    "payment_events", "ledger_entries", "delivery_evidence", "resolution_claims", "ota_commands",
    "webhook_inbox",
)  # fmt: skip
KEPT = (
    *KEPT_FOR_EVER, "payments", "cases", "customers", "vehicles", "orders", "vehicle_assignments",
    "access_credentials", "subscriptions", "invoices", "invoice_series", "billing_runs",
    "api_keys", "refunds", "disputes", "notifications", "accounts", "reconciliation_days",
    "reconciliation_runs", "settlement_reports", "settlement_lines", "discrepancies",
)  # fmt: skip
BY_A_DOOR_ALONE = [
    *(
        f"insert into {table} default values"
        for table in (
            "payments",
            "payment_events",
            "resolution_claims",
            "ledger_entries",
            "ledger_accounts",
            "provider_accounts",
            "payment_transitions",
            "refusal_codes",
            "vehicle_transitions",
            "order_transitions",
            "subscription_transitions",
            "vehicle_events",
            "order_events",
            "subscription_events",
        )
    ),
    "update payments set state = 'Settled'",
    "update payment_transitions set to_state = 'Settled'",
    *(f"delete from {table}" for table in KEPT),
    "delete from subscription_transitions",
    "update clock set moved = '1 day'",
    "update payment_events set source = 'me'",
    "update ledger_entries set amount = 1",
    "update delivery_evidence set verified = true",
    "update resolution_claims set kind = 'capture'",
]


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema, in whose books the laws hold after the test too."""
    async with owner_of(database) as opened:
        yield opened


@asynccontextmanager
async def owner_of(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """Come as the owner of the schema, to a payment that is held and one that is captured."""
    opened = await asyncpg.connect(database.dsn)
    await cars.put(opened, VIN)
    await opened.execute(THERE)
    payments, transitions = Payments(database), PaymentTransitions(database)
    epochs = {}
    for payment in (HELD, TAKEN):
        await payments.accept(new_payment(id=payment))
        epochs[payment] = await authorized(payments, transitions, payment)
    await payments.accept(new_payment(id=DEPOSIT, type=PaymentType.RESERVATION))
    await transitions.apply(capture_of(TAKEN, epochs[TAKEN]))
    await opened.execute(
        f"{HEARD} values ('{REFUSED_PROOF}', '{HELD}', {ACK}, '{new_id()}', null, 1, 'V', 's',"
        f" 'SUCCEEDED', 'now', {SIGNED}, false, 'forged', now())"
    )
    for proof, word in (
        (FAILED_PROOF, replace(succeeded(HELD, epochs[HELD]), status="FAILED")),
        (PROOF, replace(succeeded(TAKEN, epochs[TAKEN]), at="later")),
    ):
        await opened.execute(ANSWERED, proof, word.status, word.at, cars.signature(word),
                             activation_of(UUID(word.payment_id)))  # fmt: skip
    epoch = await opened.fetchval(
        "insert into caas.ota_commands (command_id, subject, vin, service, action, purpose,"
        f" deadline, created_at) values ('{SWITCHED_OFF_BY}', '{HELD}', '{VIN}',"
        f" '{service_of(HELD)}',"
        " 'deactivate', 'service payment', now(), now()) returning epoch"
    )
    await opened.execute(
        f"update caas.entitlements set last_command = '{SWITCHED_OFF_BY}'"
        f" where service = '{service_of(HELD)}'"
    )
    word = replace(succeeded(HELD, epoch), command_id=str(SWITCHED_OFF_BY), action="deactivate")
    await opened.execute(
        ANSWERED, SWITCHED_OFF, word.status, word.at, cars.signature(word), SWITCHED_OFF_BY
    )
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def unharmed(server_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One owner for all statements that are refused: what is refused changes nothing for others."""
    async with fresh_database(server_dsn) as dsn:
        database = await connection.connect(dsn)
        async with owner_of(database) as opened:
            yield opened
        findings = await empty_tables.findings(database)
        await database.close()
    assert [found.invariant.name for found in findings if found.broken] == []


@pytest.mark.parametrize("what", REFUSED)
async def test_the_database_refuses(unharmed: asyncpg.Connection, what: str) -> None:
    statement, refusal = REFUSED[what]

    for session in ("origin", "replica"):
        await unharmed.execute(f"set session_replication_role = {session}")
        with pytest.raises(refusal):
            await unharmed.execute(statement)


async def test_the_past_is_not_changed(owner: asyncpg.Connection) -> None:
    for table in KEPT_FOR_EVER:
        column = await owner.fetchval(
            "select column_name from information_schema.columns where table_schema = 'caas'"
            " and table_name = $1 and is_generated = 'NEVER' and is_identity = 'NO' limit 1",
            table,
        )
        with pytest.raises(FOR_EVER):
            await owner.execute(f"update caas.{table} set {column} = {column}")


async def test_what_happened_is_not_removed(owner: asyncpg.Connection) -> None:
    for table in KEPT:
        for statement in (f"delete from caas.{table}", f"truncate caas.{table} cascade"):
            with pytest.raises(FOR_EVER):
                await owner.execute(statement)


async def test_what_must_still_happen_is_not_emptied(owner: asyncpg.Connection) -> None:
    for table in ("jobs", "idempotency_keys"):
        with pytest.raises(FOR_EVER):
            await owner.execute(f"truncate caas.{table}")


async def test_a_key_is_forgotten_when_nobody_repeats_its_request_any_more(
    owner: asyncpg.Connection,
) -> None:
    await owner.execute("update caas.clock set moved = interval '91 days'")

    assert await owner.execute("delete from caas.idempotency_keys") == "DELETE 1"


async def test_the_application_writes_history_by_its_doors_alone(database: Database) -> None:
    for statement in BY_A_DOOR_ALONE:
        with pytest.raises(RIGHTS):
            await database.fetch(statement)


FOUND = {
    "a guard that was taken away": (
        "drop trigger append_only on caas.ledger_entries", "guards_are_enabled"),
    "a guard that sleeps": (
        "alter table caas.payments disable trigger never_removed", "guards_are_enabled"),
    "a guard that a session may pass by": (
        "alter table caas.payments enable trigger transitions_as_drawn", "guards_are_enabled"),
    "a key between tables that sleeps": (
        "alter table caas.resolution_claims disable trigger all", "guards_are_enabled"),
    "a guard that lets everybody pass": (
        "create or replace function caas.refuse_change() returns trigger language plpgsql as"
        " 'begin return null; end'", "guards_are_enabled"),
    "an arrow that was added": (
        "set caas.migration = 'runs';"
        " insert into caas.payment_transitions values ('Bank confirms', 'Failed', 'Settled')",
        "transitions_match_the_rules"),
    "a refusal that became a decline": (
        "set caas.migration = 'runs';"
        " update caas.refusal_codes set class = 'decline' where code = 'issuer_unavailable'",
        "transitions_match_the_rules"),
    "random bytes for the word of a vehicle": (
        f"{HEARD} select '{new_id()}', '{HELD}', {ACK}, command_id, action, epoch, vin, service,"
        f" 'SUCCEEDED', 'now', {SIGNED}, true, null, now() from caas.ota_commands"
        f" where subject = '{HELD}' and action = 'activate'", "acknowledgements_are_signed"),
    "the word of a vehicle that the service was not sold for": (
        "alter table caas.service_orders disable trigger append_only;"
        " update caas.service_orders set vin = 'VIN2'"
        f" where id = (select subject from caas.payments where id = '{TAKEN}')",
        "no_capture_without_delivery"),
    "a term sold twice for the same days": (
        "alter table caas.entitlement_terms drop constraint terms_never_overlap;"
        " insert into caas.entitlement_terms (id, entitlement, customer, service_order, payment_id,"
        " duration_days, state, starts_at, ends_at, reserved_at, updated_at)"
        " select gen_random_uuid(), entitlement, customer, gen_random_uuid(), gen_random_uuid(),"
        " duration_days, 'granted', starts_at, ends_at, now(), now() from caas.entitlement_terms"
        f" where payment_id = '{TAKEN}'", "terms_never_overlap"),
    "a term that nobody paid for": (
        "insert into caas.entitlement_terms (id, entitlement, customer, service_order, payment_id,"
        " duration_days, state, starts_at, ends_at, reserved_at, updated_at)"
        " select gen_random_uuid(), entitlement, customer, gen_random_uuid(), gen_random_uuid(),"
        " duration_days, 'granted', ends_at, ends_at + interval '30 days', now(), now()"
        f" from caas.entitlement_terms where payment_id = '{TAKEN}'", "every_term_is_paid_for"),
    "a term made longer than it was sold": (
        "alter table caas.entitlement_terms disable trigger all; update caas.entitlement_terms"
        f" set ends_at = ends_at + interval '1 day' where payment_id = '{TAKEN}'",
        "every_term_is_paid_for"),
    "a vehicle that has on more than is paid for": (
        "update caas.entitlements e set reported_until = null from caas.entitlement_terms t"
        f" where t.entitlement = e.id and t.payment_id = '{TAKEN}'",
        "vehicles_match_their_entitlements"),
    "a call about a payment to another gateway": (
        "insert into caas.gateway_calls (id, gateway, operation, payment_id, outcome, summary,"
        f" took_ms, asked_at) values ('{new_id()}', 'other', 'capture', '{TAKEN}', 'answered', 'x',"
        " 1, now())", "payments_stay_at_their_gateway"),
    "a payment called unsent that had arrived": (
        "alter table caas.payment_events disable trigger all;"
        f" update caas.payment_events set event = 'Never sent' where payment_id = '{TAKEN}'"
        " and seq = 3; insert into caas.gateway_calls (id, gateway, operation, payment_id, outcome,"
        " summary, took_ms, asked_at) select gen_random_uuid(), gateway, 'initiate', id, 'unknown',"
        f" 'x', 1, '2020-01-01' from caas.payments where id = '{TAKEN}'",
        "unsent_payments_had_not_arrived"),
    "a refunded term that lasts": (
        "insert into caas.refunds (id, payment_id, gateway, amount, currency, reason, requested_by,"
        " state, created_at, updated_at) select gen_random_uuid(), id, gateway, amount, currency,"
        f" 'credit note R', 'x', 'succeeded', now(), now() from caas.payments where id = '{TAKEN}'",
        "refunded_terms_have_ended"),
    "an account of who was erased": (
        "insert into caas.accounts (id, role, customer, password_hash, created_at,"
        f" password_set_at) values ('{new_id()}', 'customer', '{CUSTOMER}', '$argon2id$x', now(),"
        " now())", "erased_customers_have_nothing_active"),
    "a line that its payment does not account for": (
        "insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)"
        f" select '{REPORT}', 1, 'b', 'settlement', captured_amount, 0, captured_amount, currency,"
        " now(), '2026-01-02', id, 'matched', 0, gen_random_uuid(), now() from caas.payments"
        f" where id = '{TAKEN}'", "positions_are_explained"),
    "a fee of a part that nothing compares": (
        "insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)"
        f" select '{REPORT}', 1, 'b', 'settlement', 2, 1, 1, currency, now(), '2026-01-02', id,"
        " 'partial_settlement', 1, gen_random_uuid(), now() from caas.payments"
        f" where id = '{TAKEN}';"
        " insert into caas.discrepancies (id, gateway, day, kind, status, version, amount,"
        " currency, payment_id, report_id, line_no, due_on, opened_at, updated_at)"
        f" select '{REPORT}', 'g', '2026-01-02', 'partial_settlement', 'open', 1, 1, currency, id,"
        f" '{REPORT}', 1, '2026-01-02', now(), now() from caas.payments where id = '{TAKEN}';"
        " insert into caas.discrepancy_events (discrepancy_id, seq, event, status, by, facts, at)"
        f" values ('{REPORT}', 1, 'opened', 'open', 'x', '{{\"fee_agreed\": 0}}', now())",
        "fees_of_decided_lines_are_compared"),
    "money that is booked as less of a loss": (
        "insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        " select id, version, 'settled_funds', 'risk_loss:other', 1, currency, now()"
        f" from caas.payments where id = '{TAKEN}'", "losses_are_not_below_zero"),
    "the excess of a dispute that is less than nothing": (
        "insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        " select id, version, 'risk_loss:chargeback', 'risk_loss:dispute_excess', 1, currency,"
        f" now() from caas.payments where id = '{TAKEN}'",
        "losses_of_disputes_are_not_below_zero"),
    "a chargeback of a line without its dispute": (
        "insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)"
        f" select '{REPORT}', 1, 'b', 'chargeback', -captured_amount, 0, -captured_amount,"
        " currency, now(), '2026-01-02', id, 'matched', 0, gen_random_uuid(), now()"
        f" from caas.payments where id = '{TAKEN}'", "disputes_of_lines_are_those_lines"),
    "a refund of a line that was never made": (
        "insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)"
        f" select '{REPORT}', 1, 'b', 'refund', -captured_amount, 0, -captured_amount, currency,"
        " now(), '2026-01-02', id, 'matched', 0, gen_random_uuid(), now() from caas.payments"
        f" where id = '{TAKEN}'", "lines_move_what_payments_account_for"),
    "a refund that waits beside a line that was none of it": (
        "insert into caas.refunds (id, payment_id, gateway, amount, currency, reason, requested_by,"
        " state, created_at, updated_at) select gen_random_uuid(), id, gateway, 3, currency,"
        " 'x', 'x', 'succeeded', '2026-01-01', '2026-01-01' from caas.payments"
        f" where id = '{TAKEN}';"
        " insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.settlement_lines (report_id, line_no, batch_id, type, gross, fee, net,"
        " currency, booked_at, value_date, payment_id, class, at_stake, run_id, at)"
        f" select '{REPORT}', 1, 'b', 'refund', -2, 0, -2, currency, now(), '2026-01-02', id,"
        " 'refund_mismatch', 1, gen_random_uuid(), now() from caas.payments"
        f" where id = '{TAKEN}';"
        " insert into caas.discrepancies (id, gateway, day, kind, status, version, amount,"
        " currency, payment_id, report_id, line_no, due_on, resolution, opened_at, updated_at)"
        f" select '{REPORT}', 'g', '2026-01-02', 'refund_mismatch', 'resolved', 2, 1, currency,"
        f" id, '{REPORT}', 1, '2026-01-02', 'accept_loss', now(), now() from caas.payments"
        f" where id = '{TAKEN}';"
        " insert into caas.discrepancy_events (discrepancy_id, seq, event, status, by, facts, at)"
        f" values ('{REPORT}', 1, 'opened', 'open', 'x', '{{}}', now()),"
        f" ('{REPORT}', 2, 'resolved', 'resolved', 'x', '{{}}', now());"
        " insert into caas.discrepancy_entries (discrepancy_id, payment_id, debit, credit, amount,"
        f" currency, at) select '{REPORT}', id, 'settled_funds', 'bank', 1, currency, now()"
        f" from caas.payments where id = '{TAKEN}'",
        "refunds_wait_for_lines_of_their_own"),
    "a settled payment that the gateway still owes": (
        "alter table caas.payments disable trigger all;"
        f" update caas.payments set state = 'Settled' where id = '{TAKEN}'",
        "positions_are_explained"),
    "a line kept aside that was released and never stored": (
        "insert into caas.reconciliation_days (gateway, day) values ('g', '2026-01-02');"
        " insert into caas.settlement_reports (id, gateway, day, part, report_ref, origin, format,"
        f" status, received_at, updated_at) values ('{REPORT}', 'g', '2026-01-02', '', 'r', 'file',"
        " 'stripe', 'closed', now(), now());"
        " insert into caas.quarantined_lines (report_id, place, line_id, has_own_id, reason, text,"
        f" found_at, released_at, released_by) values ('{REPORT}', 2, 'txn_1', true, 'x', 'x',"
        " now(), now(), 'reconciliation')", "lines_kept_aside_end_by_that_line"),
    "an event after the last one": (
        "insert into caas.payment_events select id, version + 1, 'x', state, state, 'x', '{}',"
        f" now(), 'x' from caas.payments where id = '{HELD}'", "state_is_fold_of_events"),
    "an event of nobody's": (
        f"insert into caas.payment_events values ('{new_id()}', 1, 'x', null, 'Initiated', 'x',"
        " '{}', now(), 'x')", "state_is_fold_of_events"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
async def test_what_only_an_owner_can_do_is_found(database_dsn: str, what: str) -> None:
    statement, invariant = FOUND[what]
    tables = await connection.connect(database_dsn)

    async with owner_of(tables) as owner:
        await cars.put(owner, "VIN2")
        await owner.execute(statement)
    findings = await self_check.self_check(tables)
    await tables.close()

    assert invariant in {found.invariant.name for found in findings if found.broken}
