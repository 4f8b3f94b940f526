"""The table objects of one Billing Database."""

import msgspec

from caas.billing_database.cases import Cases
from caas.billing_database.connection import Database
from caas.billing_database.entitlements import Entitlements
from caas.billing_database.idempotency import IdempotencyKeys
from caas.billing_database.job_rows import JobRows
from caas.billing_database.ota_commands import OtaCommands
from caas.billing_database.payments import Payments
from caas.billing_database.transitions import PaymentTransitions
from caas.billing_database.webhook_inbox import WebhookInbox


class BillingDatabase(msgspec.Struct, frozen=True):
    """All table objects, shared so that concurrent writes are batched."""

    database: Database
    payments: Payments
    transitions: PaymentTransitions
    commands: OtaCommands
    entitlements: Entitlements
    jobs: JobRows
    cases: Cases
    keys: IdempotencyKeys
    webhooks: WebhookInbox


def opened(database: Database) -> BillingDatabase:
    """Create the table objects of a Billing Database."""
    commands = OtaCommands(database)
    return BillingDatabase(
        database=database,
        payments=Payments(database),
        transitions=PaymentTransitions(database, commanded=commands.keep_at_hand),
        commands=commands,
        entitlements=Entitlements(database),
        jobs=JobRows(database),
        cases=Cases(database),
        keys=IdempotencyKeys(database),
        webhooks=WebhookInbox(database),
    )
