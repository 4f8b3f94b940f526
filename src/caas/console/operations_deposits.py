"""Held deposits (decision 21): refunded or retained, with dual control above a limit.

Rule a change must keep: Order Management decides whether a second person must approve, and who may.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.cases import Case
from caas.console.context import Console
from caas.console.form_actions import acted, asks, is_confirmed, is_to_ask
from caas.console.formats import written
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.order_management.held_deposits import (
    DepositDecision,
    HeldDeposit,
    HeldDeposits,
    NoHeldDepositError,
)
from caas.web.response import Response

Act = Callable[[HeldDeposits, UUID], Awaitable[object]]
"""A form's action on the deposit of its case."""


class NoDecisionChosenError(RefusedError):
    """Choose what becomes of the deposit."""

    code = "no_decision_chosen"


async def held_deposit(console: Console, payment_id: UUID) -> HeldDeposit | None:
    """Return the deposit held by a case, or None."""
    try:
        return await console.platform.order_management.held_deposits.of(payment_id)
    except NoHeldDepositError:
        return None


async def decide(console: Console, request: PageRequest) -> Response:
    """Decide once confirmed, or propose the decision if a second person must approve."""
    me, note, chosen = (
        request.by.actor,
        request.form.get("note", ""),
        request.form.get("decision", ""),
    )

    async def act(investigation: HeldDeposits, payment_id: UUID) -> None:
        if chosen not in set(DepositDecision):
            raise NoDecisionChosenError
        await investigation.decide(payment_id, DepositDecision(chosen), note=note, by=me)

    deposit = await held_deposit(console, (await _case(console, request)).subject)
    is_whole = chosen in set(DepositDecision) and bool(note.strip())
    if deposit is not None and is_whole and not (deposit.needs_second or is_confirmed(request)):
        return _confirmation(console, request, deposit, chosen, {"decision": chosen, "note": note})
    return await _acted(console, request, act)


async def agree(console: Console, request: PageRequest) -> Response:
    """Approve as the second person, once confirmed."""
    me = request.by.actor
    deposit = await held_deposit(console, (await _case(console, request)).subject)
    proposal = deposit.proposal if deposit else None
    if deposit and proposal and is_to_ask(request, proposal.proposed_account):
        return _confirmation(console, request, deposit, proposal.decision, {})
    return await _acted(console, request, lambda investigation, it: investigation.agree(it, by=me))


async def withdraw(console: Console, request: PageRequest) -> Response:
    """Withdraw a proposal."""
    me = request.by.actor
    return await _acted(
        console, request, lambda investigation, it: investigation.withdraw(it, by=me)
    )


def _confirmation(
    console: Console,
    request: PageRequest,
    deposit: HeldDeposit,
    decision: str,
    fields: dict[str, str],
) -> Response:
    return asks(
        console, request, f"deposit_{decision}", back=f"/operations/cases/{request.ids['case_id']}",
        name=written(deposit.amount, request.language), fields=fields,
    )  # fmt: skip


async def _acted(console: Console, request: PageRequest, act: Act) -> Response:
    case = await _case(console, request)
    investigation = console.platform.order_management.held_deposits
    return await acted(
        console, request, f"/operations/cases/{case.id}", lambda: act(investigation, case.subject)
    )


async def _case(console: Console, request: PageRequest) -> Case:
    try:
        return await console.platform.tables.cases.get(request.ids["case_id"])
    except NotFoundError as error:
        raise NothingHereError from error


_DEPOSIT: Final = "/operations/cases/{case_id:uuid}/deposit"
OPERATIONS_DEPOSIT_ROUTES: Final[tuple[PageRoute, ...]] = (
    post(_DEPOSIT, decide, OPERATIONS),
    post(_DEPOSIT + "/agree", agree, OPERATIONS),
    post(_DEPOSIT + "/withdraw", withdraw, OPERATIONS),
)
