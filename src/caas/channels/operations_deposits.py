"""Held deposits (decision 21): given back or kept, by one person or two, on the page of the case.

Rules a change must keep: whether a second person is needed, and who may agree, is for the room to
say.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from caas.billing_database.cases import Case
from caas.channels.acting import acted
from caas.channels.confirmation import asks, is_confirmed, is_to_ask
from caas.channels.formats import written
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, post
from caas.channels.rooms import Channels
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError
from caas.order_management.held_deposits import (
    DepositDecision,
    HeldDeposit,
    HeldDeposits,
    NoHeldDepositError,
)
from caas.web.response import Response

Act = Callable[[HeldDeposits, UUID], Awaitable[object]]
"""What a form does at the desk, to the deposit of its case."""


class NoDecisionChosenError(RefusedError):
    """Choose what becomes of the deposit."""

    code = "no_decision_chosen"


async def held_deposit(channels: Channels, payment_id: UUID) -> HeldDeposit | None:
    """Return the deposit that waits behind a case, if one does."""
    try:
        return await channels.rooms.order_management.held_deposits.of(payment_id)
    except NoHeldDepositError:
        return None


async def decide(channels: Channels, visit: Visit) -> Response:
    """Decide, once confirmed; or propose to when a second person is needed."""
    me, note, chosen = visit.by.actor, visit.form.get("note", ""), visit.form.get("decision", "")

    async def act(desk: HeldDeposits, payment_id: UUID) -> None:
        if chosen not in set(DepositDecision):
            raise NoDecisionChosenError
        await desk.decide(payment_id, DepositDecision(chosen), note=note, by=me)

    deposit = await held_deposit(channels, (await _case(channels, visit)).subject)
    is_whole = chosen in set(DepositDecision) and bool(note.strip())
    if deposit is not None and is_whole and not (deposit.needs_second or is_confirmed(visit)):
        return _asks(channels, visit, deposit, chosen, {"decision": chosen, "note": note})
    return await _acted(channels, visit, act)


async def agree(channels: Channels, visit: Visit) -> Response:
    """Agree as the second person, once confirmed."""
    me = visit.by.actor
    deposit = await held_deposit(channels, (await _case(channels, visit)).subject)
    proposal = deposit.proposal if deposit else None
    if deposit and proposal and is_to_ask(visit, proposal.proposed_account):
        return _asks(channels, visit, deposit, proposal.decision, {})
    return await _acted(channels, visit, lambda desk, it: desk.agree(it, by=me))


async def withdraw(channels: Channels, visit: Visit) -> Response:
    """Take a proposal back."""
    me = visit.by.actor
    return await _acted(channels, visit, lambda desk, it: desk.withdraw(it, by=me))


def _asks(
    channels: Channels, visit: Visit, deposit: HeldDeposit, decision: str, fields: dict[str, str]
) -> Response:
    return asks(
        channels, visit, f"deposit_{decision}", back=f"/operations/cases/{visit.ids['case_id']}",
        name=written(deposit.amount, visit.language), fields=fields,
    )  # fmt: skip


async def _acted(channels: Channels, visit: Visit, act: Act) -> Response:
    case = await _case(channels, visit)
    desk = channels.rooms.order_management.held_deposits
    return await acted(
        channels, visit, f"/operations/cases/{case.id}", lambda: act(desk, case.subject)
    )


async def _case(channels: Channels, visit: Visit) -> Case:
    try:
        return await channels.rooms.books.cases.get(visit.ids["case_id"])
    except NotFoundError as error:
        raise NothingHereError from error


_DEPOSIT: Final = "/operations/cases/{case_id:uuid}/deposit"
OPERATIONS_DEPOSIT_ROUTES: Final[tuple[PageRoute, ...]] = (
    post(_DEPOSIT, decide, OPERATIONS),
    post(_DEPOSIT + "/agree", agree, OPERATIONS),
    post(_DEPOSIT + "/withdraw", withdraw, OPERATIONS),
)
