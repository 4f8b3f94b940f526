"""Cases of what becomes of held funds: capture, void, expiry; and of refunds."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
    GatewayTransaction,
    RefundStatus,
    TransactionStatus,
)
from caas_lab.conformance.cases import Case, check
from caas_lab.conformance.gateway_under_test import (
    CAPTURED,
    GIVEN_BACK,
    GatewayUnderTest,
    a_key,
    in_state,
    refused,
)
from caas_lab.conformance.methods_file import SandboxAction

REASON: Final = "activation failed"


async def a_capture_commits_the_charge(it: GatewayUnderTest) -> None:
    """A capture takes exactly what it names, and a lookup shows it."""
    transaction = await it.authorized()

    captured = await it.capture(transaction)

    in_state(captured, *CAPTURED)
    await _captured_in_full(it, transaction)


async def a_second_capture_is_refused_as_already_captured(it: GatewayUnderTest) -> None:
    """A capture under another key takes nothing more."""
    transaction = await it.captured()

    again = it.capture(transaction)
    await refused(again, AlreadyCapturedError, what="A second capture")

    await _captured_in_full(it, transaction)


async def a_part_can_be_captured(it: GatewayUnderTest) -> None:
    """A capture of a part takes that part."""
    transaction = await it.authorized()
    part = transaction.amount // 2

    reported = await it.capture(transaction, part)

    check(reported.captured_amount == part, f"{reported.captured_amount} is captured, not {part}.")
    check(reported.amount == transaction.amount, f"The amount became {reported.amount}.")


async def more_than_is_held_cannot_be_captured(it: GatewayUnderTest) -> None:
    """A capture above the amount is refused, and takes nothing."""
    transaction = await it.authorized()

    more = it.capture(transaction, transaction.amount + 1)
    await refused(more, what="A capture of more than is held")

    in_state(await it.known(transaction), TransactionStatus.AUTHORIZED)


async def a_void_gives_the_funds_back_and_no_capture_follows(it: GatewayUnderTest) -> None:
    """After a void nothing can be captured; a second void changes nothing."""
    transaction = await it.authorized()
    in_state(await it.void(transaction), TransactionStatus.VOIDED)

    late = it.capture(transaction)
    await refused(late, AlreadyVoidedError, what="A capture after a void")

    reported = in_state(await it.known(transaction), TransactionStatus.VOIDED)
    check(reported.captured_amount == 0, f"{reported.captured_amount} was captured after the void.")


async def a_captured_charge_cannot_be_voided(it: GatewayUnderTest) -> None:
    """A void after a capture is refused as already captured: only a refund helps."""
    transaction = await it.captured()

    late = it.void(transaction)
    await refused(late, AlreadyCapturedError, what="A void after a capture")

    await _captured_in_full(it, transaction)


async def of_a_capture_and_a_void_at_once_exactly_one_wins(it: GatewayUnderTest) -> None:
    """Sent at the same time, one is done and the other is refused as too late."""
    transaction = await it.authorized()

    ends = await asyncio.gather(
        it.capture(transaction),
        it.void(transaction),
        return_exceptions=True,
    )

    won = [end for end in ends if isinstance(end, GatewayTransaction)]
    lost = [end for end in ends if isinstance(end, AlreadyVoidedError | AlreadyCapturedError)]
    kinds = ", ".join(type(end).__name__ for end in ends)
    check(len(won) == 1 and len(lost) == 1, f"A capture and a void at once end as {kinds}.")
    reported = (await it.known(transaction)).status
    check(
        (reported in CAPTURED) == (won[0].status in CAPTURED),
        f"{won[0].status} won; it is {reported}.",
    )


async def an_authorization_that_expired_cannot_be_captured(it: GatewayUnderTest) -> None:
    """A capture of expired funds is refused as expired, so that nothing counts as charged."""
    transaction = await it.authorized()
    await it.act(SandboxAction.EXPIRE, transaction)

    late = it.capture(transaction)
    await refused(late, AuthorizationExpiredError, what="A capture after the expiry")

    reported = await it.known(transaction)
    check(
        reported.captured_amount == 0, f"{reported.captured_amount} was captured after the expiry."
    )
    in_state(reported, TransactionStatus.VOIDED, TransactionStatus.FAILED)


async def a_refund_gives_a_part_back(it: GatewayUnderTest) -> None:
    """A refund of a part is taken up, and is found with its amount."""
    transaction = await it.captured()
    part = transaction.amount // 4

    refund = await it.gateway.refund(transaction.id, part, GIVEN_BACK, key=a_key())

    check(refund.amount == part, f"{refund.amount} is given back, not {part}.")
    check(refund.status is not RefundStatus.FAILED, "The refund failed.")
    if it.gateway.capabilities.lookup_of_refunds:
        found = [(one.id, one.amount) for one in await it.gateway.find_refunds(transaction.id)]
        check(found == [(refund.id, part)], f"The lookup of refunds shows {found}.")


async def no_more_is_refunded_than_was_captured(it: GatewayUnderTest) -> None:
    """Refunds in parts end where the captured amount ends."""
    transaction = await it.captured()
    part = transaction.amount - 1
    await it.gateway.refund(transaction.id, part, GIVEN_BACK, key=a_key())

    await it.refund_is_refused(transaction, 2, "A refund of more than is left")


async def nothing_is_refunded_that_was_not_captured(it: GatewayUnderTest) -> None:
    """Held funds are released by a void, and not by a refund."""
    transaction = await it.authorized()

    await it.refund_is_refused(transaction, 1, "A refund before the capture")

    in_state(await it.known(transaction), TransactionStatus.AUTHORIZED)


async def nothing_is_done_to_a_transaction_that_does_not_exist(it: GatewayUnderTest) -> None:
    """A capture, a void and a refund of nothing are refused, and are no success."""
    known = (await it.authorized()).id
    missing = f"{known[:4]}{secrets.token_hex(16)}"
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "capture": lambda: it.gateway.capture(missing, 1, key=a_key()),
        "void": lambda: it.gateway.void(missing, REASON, key=a_key()),
        "refund": lambda: it.gateway.refund(missing, 1, GIVEN_BACK, key=a_key()),
    }
    for operation, call in calls.items():
        error = await refused(
            call(), GatewayFailure, what=f"The {operation} of an unknown transaction"
        )
        resolved = isinstance(error, AlreadyVoidedError | AlreadyCapturedError)
        check(not resolved, f"The {operation} of an unknown transaction counts as done before.")


async def _captured_in_full(it: GatewayUnderTest, transaction: GatewayTransaction) -> None:
    reported = in_state(await it.known(transaction), *CAPTURED)
    check(
        reported.captured_amount == transaction.amount,
        f"{reported.captured_amount} is captured, not {transaction.amount}.",
    )


SEPARATE: Final = "separate_capture"
CASES: Final = (
    Case(a_capture_commits_the_charge, needs=(SEPARATE,)),
    Case(a_second_capture_is_refused_as_already_captured, needs=(SEPARATE,)),
    Case(a_part_can_be_captured, needs=(SEPARATE, "partial_capture")),
    Case(more_than_is_held_cannot_be_captured, needs=(SEPARATE,)),
    Case(a_void_gives_the_funds_back_and_no_capture_follows, needs=(SEPARATE, "void")),
    Case(a_captured_charge_cannot_be_voided, needs=("void",)),
    Case(of_a_capture_and_a_void_at_once_exactly_one_wins, needs=(SEPARATE, "void")),
    Case(an_authorization_that_expired_cannot_be_captured, needs=(SEPARATE,)),
    Case(a_refund_gives_a_part_back, needs=("refund",)),
    Case(no_more_is_refunded_than_was_captured, needs=("refund",)),
    Case(nothing_is_refunded_that_was_not_captured, needs=(SEPARATE, "refund")),
    Case(nothing_is_done_to_a_transaction_that_does_not_exist),
)
