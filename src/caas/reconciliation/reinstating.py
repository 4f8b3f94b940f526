"""Ends what waited for money that a decision reinstated, and refunds it if its sale was undone.

Rules a change must keep: what waited ends only once nothing of the payment's settlement is given
up, and what a person accepted meanwhile stays; what is refunded is what the line brought
after the settlement had failed (decision 271).
"""

from collections.abc import Sequence
from typing import Final

from caas.billing_database.connection import Connection
from caas.billing_database.decided_money import given_up
from caas.billing_database.discrepancies import Discrepancies, Discrepancy, Step
from caas.billing_database.gateway_claims import GatewayClaims, brought_by_its_line
from caas.billing_database.received_money import came_after_failure
from caas.billing_database.refunds import Refunds
from caas.billing_database.tables import BillingDatabase
from caas.payment_processing.overtaken_refunds import CancelledSales
from caas.rules.discrepancies import Resolution
from caas.rules.postings import SETTLEMENT_LOSSES, Entry
from caas.rules.resolutions import GIVEN_UP, reversed_, still_posted

BY: Final = "reconciliation"
ABOUT_LOSSES: Final = (
    "settlement_failed", "settlement_reversed", "reversed_after_refund", "settled_after_loss",
)  # fmt: skip
"""Kinds of the cases about a payment whose settlement was lost."""
SENTENCE: Final = "Its line came after all, and was reinstated."


async def refund_if_undone(
    tables: BillingDatabase, reinstated: Discrepancy, entries: Sequence[Entry], within: Connection
) -> None:
    """Promise what the entries of a decision brought of an undone sale, after its failure."""
    brought = sum(it.amount for it in entries if it.credit in SETTLEMENT_LOSSES)
    if reinstated.payment_id is None or brought <= 0:
        return
    payment = await tables.payments.get(reinstated.payment_id, within=within)
    if await came_after_failure(payment, within=within) > 0:
        sales = CancelledSales(tables, Refunds(tables.database))
        decision = f"{reinstated.id}:{reinstated.version}"
        await sales.reinstated(payment.id, brought, decision, within=within)


async def end_claims(
    discrepancies: Discrepancies,
    claims: GatewayClaims,
    reinstated: Discrepancy,
    within: Connection,
) -> None:
    """Give the losses back that claims took over until the line came, which it has.

    A claim is paid if nothing is given up any more; otherwise it is withdrawn, and a person may
    claim the rest.
    """
    if reinstated.payment_id is None:
        return
    line = f"{reinstated.report_id}:{reinstated.line_no}"
    for waiting in await discrepancies.awaiting_line([reinstated.payment_id], within=within):
        posted = still_posted(await discrepancies.posted(waiting.id, within=within))
        if not any(it.credit in SETTLEMENT_LOSSES for it in posted):
            continue
        step = Step(
            event="noted", status=waiting.status, by=BY, facts={"line": line},
            resolution=waiting.resolution, entries=reversed_(posted),
        )  # fmt: skip
        await discrepancies.step(waiting.id, step, within=within)
        if await given_up(reinstated.payment_id, reinstated.currency, within=within):
            await claims.end(waiting.id, by=BY, note=SENTENCE, within=within)
        else:
            await brought_by_its_line(waiting.id, line, within=within)


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


async def wait_again(
    tables: BillingDatabase,
    discrepancies: Discrepancies,
    reopened: Discrepancy,
    within: Connection,
) -> None:
    """Open again what a reinstatement ended, because its decision is reopened."""
    payment_id = reopened.payment_id
    reinstated = reopened.resolution == Resolution.REINSTATE_THE_PAYMENT
    if payment_id is None or not reinstated or reopened.kind not in GIVEN_UP:
        return
    for kind in ABOUT_LOSSES:
        await tables.cases.open_again(kind, payment_id, resolution=SENTENCE, within=within)
    facts = {"line": f"{reopened.report_id}:{reopened.line_no}", "class": reopened.kind.value}
    for ended in await discrepancies.ended_by_reinstating(payment_id, within=within):
        step = Step(event="reopened", status="open", by=BY, facts=facts)
        await discrepancies.step(ended.id, step, within=within)


async def end_what_came(
    discrepancies: Discrepancies, decided: Discrepancy, within: Connection
) -> None:
    """End the discrepancies that waited for what the line of a decision brought, with claims."""
    assert decided.payment_id is not None, "what is due is due for a payment"
    line = f"{decided.report_id}:{decided.line_no}"
    for waiting in await discrepancies.awaiting_line([decided.payment_id], within=within):
        posted = still_posted(await discrepancies.posted(waiting.id, within=within))
        await discrepancies.reject_proposal(waiting.id, by=BY, within=within)
        step = Step(
            event="resolved itself", status="resolved", by=BY,
            facts={"line": line, "class": decided.kind.value}, resolution="itself",
            entries=reversed_(posted),
        )  # fmt: skip
        await discrepancies.step(waiting.id, step, within=within)
        await brought_by_its_line(waiting.id, line, within=within)
