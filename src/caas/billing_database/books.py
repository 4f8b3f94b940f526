"""The Billing Database as the floors above hold it: one object for each of its tables' doors.

Rule a change must keep: one object for each door; nothing is decided here.
"""

from dataclasses import dataclass

from caas.billing_database.cases import Cases
from caas.billing_database.connection import Database
from caas.billing_database.due_work import DueWorkRows
from caas.billing_database.entitlements import Entitlements
from caas.billing_database.idempotency import IdempotencyKeys
from caas.billing_database.moves import Moves
from caas.billing_database.ota_commands import OtaCommands
from caas.billing_database.payments import Payments


@dataclass(frozen=True, slots=True)
class Books:
    """The doors of one Billing Database; each joins the writes of all who share it."""

    database: Database
    payments: Payments
    moves: Moves
    commands: OtaCommands
    entitlements: Entitlements
    work: DueWorkRows
    cases: Cases
    keys: IdempotencyKeys


def opened(database: Database) -> Books:
    """Open every door of a Billing Database."""
    commands = OtaCommands(database)
    return Books(
        database=database,
        payments=Payments(database),
        moves=Moves(database, commanded=commands.keep_at_hand),
        commands=commands,
        entitlements=Entitlements(database),
        work=DueWorkRows(database),
        cases=Cases(database),
        keys=IdempotencyKeys(database),
    )
