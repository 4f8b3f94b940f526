"""Checks the laws of the whole database and tells which rows break one (decision 42).

It runs after every database test, every few minutes in operation, and from the command line.

Rule a change must keep: every law is asked, whatever another one found.
"""

from dataclasses import dataclass
from typing import Final

from caas.billing_database.connection import Connection, Database
from caas.billing_database.laws import EVERY_WORD_IS_SIGNED, LAWS, NO_CARD_NUMBER, Law
from caas.rules.card_numbers import contains_card_number
from caas.rules.vehicle_signatures import SignedWord, signed_with

BROKEN_ROWS_SHOWN_MAX: Final = 20
PREFETCH_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """How many rows break a law, and the first of them."""

    law: Law
    broken: int
    examples: tuple[str, ...]


# Every column that holds words from outside; the last law reads them all.
FREE_TEXT: Final = (
    "select id::text, concat_ws(' ', payment_method, return_url, decline_code) from payments",
    "select payment_id::text, facts::text from payment_events where facts <> '{}'",
    "select id::text, body::text from webhook_inbox",
    "select id::text, concat_ws(' ', event_id, reason, body) from webhook_quarantine",
    "select id::text, concat_ws(' ', name, dealership) from api_keys",
    "select id::text, concat_ws(' ', sentence, facts::text, resolution) from cases",
    "select subject::text, concat_ws(' ', payload::text, last_error) from open_work",
    "select id::text, concat_ws(' ', recipient, facts::text) from notifications",
    "select id::text, concat_ws(' ', name, email, language) from customers",
    "select id::text, concat_ws(' ', model, dealership, factory_order_id, plate) from orders",
    "select code, concat_ws(' ', name, names::text) from services",
    "select id::text, concat_ws(' ', login, dealership) from accounts",
    "select id::text, note from outcome_decisions",
    "select id::text, note from deposit_decisions",
    "select id::text, payment_method from subscriptions",
    "select subscription::text, concat_ws(' ', source_id, unit) from usage_records",
    """select report_id::text, concat_ws(' ', batch_id, line_id, transaction_id,
        nullif(reference, payment_id::text)) from settlement_lines""",
    "select report_id::text, concat_ws(' ', reason, text, note) from quarantined_lines",
    "select id::text, concat_ws(' ', report_ref, part) from settlement_reports",
    "select id::text, because from reconciliation_runs",
    "select discrepancy_id::text, concat_ws(' ', by, facts::text) from discrepancy_events",
    "select id::text, note from discrepancy_resolutions",
    "select id::text, name from discrepancy_evidence",
    "select id::text, concat_ws(' ', reason, lines::text) from invoices",
    "select invoice::text, buyer::text from document_buyers",
    "select invoice::text, reason from credit_note_decisions",
    """select customer::text, concat_ws(' ', name, street, postcode, city, tax_id)
         from billing_details""",
)


async def self_check(database: Database) -> list[Finding]:
    """Check every law and return what was found for each, broken or not."""
    async with database.connection() as connection:
        findings = [await _check(connection, law) for law in LAWS]
        findings.append(await _look_for_unsigned_words(connection))
        findings.append(await _look_for_card_numbers(connection))
    return findings


async def _check(connection: Connection, law: Law) -> Finding:
    rows = await connection.fetch(law.query)
    examples = tuple(str(row[0]) for row in rows[:BROKEN_ROWS_SHOWN_MAX])
    return Finding(law, len(rows), examples)


async def _look_for_unsigned_words(connection: Connection) -> Finding:
    found: list[str] = []
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(EVERY_WORD_IS_SIGNED.query, prefetch=PREFETCH_ROWS):
            evidence, vin, command_id, epoch, subject, service, action, status, at, *proof = row
            signature, key = proof
            word = SignedWord(
                vin=vin, command_id=command_id, epoch=epoch, payment_id=subject, service=service,
                action=action, status=status, at=at,
            )  # fmt: skip
            if key is None or not signed_with(key, signature=signature, text=word.text):
                found.append(evidence)
    return Finding(EVERY_WORD_IS_SIGNED, len(found), tuple(found[:BROKEN_ROWS_SHOWN_MAX]))


async def _look_for_card_numbers(connection: Connection) -> Finding:
    found: list[str] = []
    async with connection.transaction(readonly=True):
        for query in FREE_TEXT:
            rows = connection.cursor(query, prefetch=PREFETCH_ROWS)
            found += [row[0] async for row in rows if row[1] and contains_card_number(row[1])]
    return Finding(NO_CARD_NUMBER, len(found), tuple(found[:BROKEN_ROWS_SHOWN_MAX]))
