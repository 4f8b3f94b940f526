"""The Billing Database as the layers above hold it: one object for each of its tables' doors.

Rule a change must keep: one object for each door; nothing is decided here.
"""

from dataclasses import dataclass

from caas.billing_database.cases import Cases
from caas.billing_database.connection import Database
from caas.billing_database.entitlements import Entitlements
from caas.billing_database.idempotency import IdempotencyKeys
from caas.billing_database.job_rows import JobRows
from caas.billing_database.ota_commands import OtaCommands
from caas.billing_database.payments import Payments
from caas.billing_database.transitions import PaymentTransitions


@dataclass(frozen=True, slots=True)
class BillingDatabase:
    """The doors of one Billing Database; each joins the writes of all who share it."""

    database: Database
    payments: Payments
    transitions: PaymentTransitions
    commands: OtaCommands
    entitlements: Entitlements
    jobs: JobRows
    cases: Cases
    keys: IdempotencyKeys


def opened(database: Database) -> BillingDatabase:
    """Open every door of a Billing Database."""
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
    )
