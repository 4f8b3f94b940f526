"""Ends what waited for money that a decision reinstated.

Rule a change must keep: it ends only once nothing of the payment's settlement is given up, and what
a person claimed or accepted meanwhile stays.
"""

from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import given_up
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, Step
from caas.billing_database.tables import BillingDatabase
from caas.rules.resolutions import still_posted

BY: Final = "reconciliation"
ABOUT_LOSSES: Final = ("settlement_failed", "settlement_reversed", "settled_after_loss")
"""Kinds of the cases about a payment whose settlement was lost."""
SENTENCE: Final = "Its line came after all, and was reinstated."


async def end_what_waited(
    tables: BillingDatabase,
    discrepancies: Discrepancies,
    reinstated: Discrepancy,
    within: Connection,
) -> None:
    """End the cases of the loss, and the discrepancies of the payment that wait for its line."""
    payment_id = reinstated.payment_id
    if payment_id is None or await given_up(payment_id, reinstated.currency, within=within):
        return
    for kind in ABOUT_LOSSES:
        await tables.cases.close(kind, payment_id, resolution=SENTENCE, owner=BY, within=within)
    facts = {
        "line": f"{reinstated.report_id}:{reinstated.line_no}",
        "class": reinstated.kind.value,
    }
    for waiting in await discrepancies.awaiting_line([payment_id], within=within):
        if still_posted(await discrepancies.posted(waiting.id, within=within)):
            continue
        await discrepancies.reject_proposal(waiting.id, by=BY, within=within)
        step = Step(
            event="resolved itself", status="resolved", by=BY, facts=facts, resolution="itself"
        )
        await discrepancies.step(waiting.id, step, within=within)
