"""What PostgreSQL itself refuses, whoever asks: the owner of the schema asks here.

The guards are the last protection, behind the one door: a charge without its proof, a second
verdict, a state that no event leads to, a past that is changed. Each statement is one that a bug,
or a person in a hurry, could send; a payment of each kind is there to be harmed.

A check that is null lets a row pass: a verified acknowledgement without any signature was taken for
the vehicle's word, and a service could have been charged for with it. So could it with a word that
answered another command: what a vehicle says of a deactivation proves no delivery.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import new_id
from caas.billing_database.moves import Moves
from caas.billing_database.payments import Payments
from tests.billing_database.test_moves import (
    AMOUNT,
    activation_of,
    authorised,
    capture_of,
    new_payment,
)

HELD, TAKEN = new_id(), new_id()
PROOF, REFUSED_PROOF, FAILED_PROOF, ORDERED = new_id(), new_id(), new_id(), new_id()
SWITCHED_OFF = new_id()
CLAIM = (
    "insert into caas.resolution_claims (payment_id, payment_type, kind, reason, evidence_id,"
    " evidence_kind, proves_delivery, claimed_at) values "
)
HEARD = (
    "insert into caas.delivery_evidence (id, subject, kind, command_id, action, epoch, vin,"
    " service, status, at, signature, verified, refused_because, recorded_at) "
)
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
    "an entry of nothing": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'a', 'b', 0, 'EUR', now())", CHECK),
    "an entry from an account to itself": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'a', 'a', 1, 'EUR', now())", CHECK),
    "an entry in another currency": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{HELD}', 9, 'a', 'b', 1, 'JPY', now())", FOREIGN),
    "an entry of nobody's": (
        f"insert into caas.ledger_entries (payment_id, seq, debit, credit, amount, currency, at)"
        f" values ('{new_id()}', 9, 'a', 'b', 1, 'EUR', now())", FOREIGN),
}  # fmt: skip
KEPT_FOR_EVER = (
    "payment_events", "ledger_entries", "delivery_evidence", "resolution_claims", "ota_commands",
    "webhook_inbox",
)  # fmt: skip
BY_A_DOOR_ALONE = [
    *(
        f"insert into {table} default values"
        for table in ("payments", "payment_events", "resolution_claims", "legal_arrows")
    ),
    "update payments set state = 'Settled'",
    "update legal_arrows set to_state = 'Settled'",
    *(f"delete from {table}" for table in ("payments", *KEPT_FOR_EVER)),
    "update payment_events set source = 'me'",
    "update ledger_entries set amount = 1",
    "update delivery_evidence set verified = true",
    "update resolution_claims set kind = 'capture'",
]


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the schema, with a payment that is held and one that is captured."""
    payments, moves = Payments(database), Moves(database)
    epochs = {}
    for payment in (HELD, TAKEN):
        await payments.accept(new_payment(id=payment))
        epochs[payment] = await authorised(payments, moves, payment)
    await moves.apply(capture_of(TAKEN, epochs[TAKEN]))
    opened = await asyncpg.connect(database.dsn)
    await opened.execute(
        f"{HEARD} values ('{REFUSED_PROOF}', '{HELD}', {ACK}, '{new_id()}', null, 1, 'V', 's',"
        f" 'SUCCEEDED', 'now', {SIGNED}, false, 'forged', now()),"
        f" ('{FAILED_PROOF}', '{HELD}', {ACK}, '{activation_of(HELD)}', 'activate',"
        f" {epochs[HELD]}, 'VIN1', 'heated-seats', 'FAILED', 'now', {SIGNED}, true, null, now()),"
        f" ('{PROOF}', '{TAKEN}', {ACK}, '{activation_of(TAKEN)}', 'activate', {epochs[TAKEN]},"
        f" 'VIN1', 'heated-seats', 'SUCCEEDED', 'now', {SIGNED}, true, null, now()),"
        f" ('{ORDERED}', '{HELD}', 'order_confirmed', null, null, null, null, null, 'SUCCEEDED',"
        " 'now', null, true, null, now())"
    )
    await opened.execute(
        "insert into caas.ota_commands (command_id, subject, vin, service, action, purpose,"
        f" deadline, created_at) values ('{new_id()}', '{HELD}', 'VIN1', 'heated-seats',"
        " 'deactivate', 'service payment', now(), now());"
        f"{HEARD} select '{SWITCHED_OFF}', subject, {ACK}, command_id, action, epoch, vin, service,"
        f" 'SUCCEEDED', 'now', {SIGNED}, true, null, now() from caas.ota_commands"
        " where action = 'deactivate'"
    )
    yield opened
    await opened.close()


@pytest.mark.parametrize("what", REFUSED)
async def test_the_database_refuses(owner: asyncpg.Connection, what: str) -> None:
    statement, refusal = REFUSED[what]

    with pytest.raises(refusal):
        await owner.execute(statement)


@pytest.mark.parametrize("table", KEPT_FOR_EVER)
async def test_the_past_is_neither_changed_nor_removed(
    owner: asyncpg.Connection, table: str
) -> None:
    column = await owner.fetchval(
        "select column_name from information_schema.columns where table_schema = 'caas'"
        " and table_name = $1 and is_generated = 'NEVER' and is_identity = 'NO' limit 1",
        table,
    )

    for statement in (
        f"delete from caas.{table}",
        f"truncate caas.{table} cascade",
        f"update caas.{table} set {column} = {column}",
    ):
        with pytest.raises(FOR_EVER):
            await owner.execute(statement)


@pytest.mark.parametrize("statement", BY_A_DOOR_ALONE)
async def test_the_application_writes_history_by_its_doors_alone(
    database: Database, statement: str
) -> None:
    with pytest.raises(RIGHTS):
        await database.fetch(statement)
