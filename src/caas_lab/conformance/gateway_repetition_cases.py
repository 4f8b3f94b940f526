"""Cases of requests that come twice, and of answers that are lost (decisions 2 and 3).

Their outcome is unknown until the gateway is asked; nothing may be done twice, or be taken for
refused.
"""

import asyncio
from typing import Final

from caas.external_systems.http_answers import GatewayFailure
from caas.external_systems.payment_gateway import (
    GatewayTransaction,
    PaymentGateway,
    TransactionStatus,
)
from caas_lab.conformance.cases import Case, MeansMissingError, check
from caas_lab.conformance.faulty_proxy import Fault
from caas_lab.conformance.gateway_under_test import (
    CAPTURED,
    Call,
    GatewayUnderTest,
    a_key,
    expect_unknown,
    held,
    in_state,
    refused,
)

AT_ONCE: Final = 16
REASON: Final = "activation failed"
GIVEN_BACK: Final = "desistimiento"


async def the_same_key_initiates_once(it: GatewayUnderTest) -> None:
    """A repeated request is answered with the transaction of the first."""
    request, key = it.request(), a_key()

    first = await it.gateway.initiate(request, key=key)
    again = await it.gateway.initiate(request, key=key)

    check(first.id == again.id, f"The repeated request made {again.id} beside {first.id}.")


async def the_same_key_many_times_at_once_initiates_once(it: GatewayUnderTest) -> None:
    """Equal requests at the same time make one transaction."""
    await it.gateway.initiate(it.request(customer_reference="customer-at-once"), key=a_key())
    request, key = it.request(customer_reference="customer-at-once"), a_key()

    ends = await asyncio.gather(
        *(it.gateway.initiate(request, key=key) for _ in range(AT_ONCE)), return_exceptions=True
    )

    wrong = [end for end in ends if not isinstance(end, GatewayTransaction | GatewayFailure)]
    check(not wrong, f"Of equal requests at once, one ends with {wrong[:1]}.")
    ids = {end.id for end in ends if isinstance(end, GatewayTransaction)}
    check(len(ids) == 1, f"{AT_ONCE} equal requests at once made {len(ids)} transactions.")


async def the_same_key_declines_once(it: GatewayUnderTest) -> None:
    """A repeated request that was declined is declined, with the same transaction."""
    request, key = it.request(_declined(it)), a_key()

    first = in_state(await it.gateway.initiate(request, key=key), TransactionStatus.FAILED)
    again = in_state(await it.gateway.initiate(request, key=key), TransactionStatus.FAILED)

    check(first.id == again.id, f"The repeated request made {again.id} beside {first.id}.")


async def the_same_key_for_another_amount_is_no_second_transaction(it: GatewayUnderTest) -> None:
    """A key stands for one request; another amount under it is refused or unknown."""
    request, key = it.request(), a_key()
    await it.gateway.initiate(request, key=key)
    other = it.request(amount=request.amount + 1, reference=request.reference)

    call = it.gateway.initiate(other, key=key)

    await refused(call, GatewayFailure, what="Another amount under the same key")


async def the_same_key_captures_once(it: GatewayUnderTest) -> None:
    """A repeated capture is answered as the first was."""
    transaction = await it.authorized()
    call = Call(key=a_key(), since=it.mark())

    for _ in range(2):
        reported = await it.capture(transaction, call=call)
        in_state(reported, *CAPTURED)

    await _captured_once(it, transaction)


async def the_same_key_voids_once(it: GatewayUnderTest) -> None:
    """A repeated void is a void."""
    transaction = await it.authorized()
    call = Call(key=a_key(), since=it.mark())

    for _ in range(2):
        reported = await it.void(transaction, call=call)
        in_state(reported, TransactionStatus.VOIDED)


async def the_same_key_refunds_once(it: GatewayUnderTest) -> None:
    """A repeated refund is the first refund."""
    transaction, key = await it.captured(), a_key()

    first = await it.gateway.refund(transaction.id, 100, GIVEN_BACK, key=key)
    again = await it.gateway.refund(transaction.id, 100, GIVEN_BACK, key=key)

    check(first.id == again.id, f"The repeated refund made {again.id} beside {first.id}.")
    await _refunded_once(it, transaction)


async def a_request_that_never_arrived_is_unknown_and_can_be_repeated(
    it: GatewayUnderTest,
) -> None:
    """The connection is cut before the gateway has the request: unknown, and made once later."""
    async with it.behind_proxy() as (gateway, proxy):
        request, key = it.request(customer_reference=await _known(it, gateway)), a_key()

        with proxy.failing(Fault.CUT_BEFORE):
            await expect_unknown(lambda: gateway.initiate(request, key=key), proxy)
        if it.gateway.capabilities.lookup_by_reference:
            found = await it.look_up(request)
            check(not found, "What never arrived is found.")

        held(await gateway.initiate(request, key=key))
        await _made_once(it, request.reference, request.customer_reference)


async def a_request_whose_answer_was_lost_is_unknown_and_found(it: GatewayUnderTest) -> None:
    """The gateway has done it: unknown, and found by our reference."""
    async with it.behind_proxy() as (gateway, proxy):
        request = it.request(customer_reference=await _known(it, gateway))

        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(lambda: gateway.initiate(request, key=a_key()), proxy)

        held(await it.only_one(request))


async def a_request_whose_answer_was_lost_is_not_made_twice(it: GatewayUnderTest) -> None:
    """Repeated with the same key, it is the transaction that was made."""
    async with it.behind_proxy() as (gateway, proxy):
        request, key = it.request(customer_reference=await _known(it, gateway)), a_key()

        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(lambda: gateway.initiate(request, key=key), proxy)

        held(await gateway.initiate(request, key=key))
        await _made_once(it, request.reference, request.customer_reference)


async def a_decline_whose_answer_was_lost_is_a_decline(it: GatewayUnderTest) -> None:
    """A lost decline is unknown; repeated, it is declined, and never authorized."""
    async with it.behind_proxy() as (gateway, proxy):
        request = it.request(_declined(it), customer_reference=await _known(it, gateway))
        key = a_key()

        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(lambda: gateway.initiate(request, key=key), proxy)

        in_state(await gateway.initiate(request, key=key), TransactionStatus.FAILED)


async def an_error_that_is_repeated_for_a_key_hides_no_transaction(it: GatewayUnderTest) -> None:
    """A gateway that answers 500 under a key for ever: unknown, never declined, and found."""
    async with it.behind_proxy() as (gateway, proxy):
        request, key = it.request(customer_reference=await _known(it, gateway)), a_key()

        with proxy.failing(Fault.ERROR_AFTER):
            for _ in range(3):
                await expect_unknown(lambda: gateway.initiate(request, key=key), proxy)

        held(await it.only_one(request))


async def a_capture_whose_answer_was_lost_is_done_once(it: GatewayUnderTest) -> None:
    """Repeated with the same key, nothing more is taken; another process knows the transaction."""
    transaction, key = await it.known(await it.authorized()), a_key()
    mark = it.mark()
    async with it.behind_proxy() as (gateway, proxy):
        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(
                lambda: gateway.capture(transaction.id, transaction.amount, key=key), proxy
            )
        call = Call(by=gateway, key=key, since=mark)
        reported = await it.capture(transaction, call=call)

    in_state(reported, *CAPTURED)
    await _captured_once(it, transaction)


async def a_void_whose_answer_was_lost_is_done_once(it: GatewayUnderTest) -> None:
    """Repeated with the same key, it is voided."""
    transaction, key = await it.authorized(), a_key()
    mark = it.mark()
    async with it.behind_proxy() as (gateway, proxy):
        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(lambda: gateway.void(transaction.id, REASON, key=key), proxy)
        call = Call(by=gateway, key=key, since=mark)
        reported = await it.void(transaction, call=call)

    in_state(reported, TransactionStatus.VOIDED)


async def a_refund_whose_answer_was_lost_is_done_once(it: GatewayUnderTest) -> None:
    """Repeated with the same key, no more is given back."""
    transaction, key = await it.captured(), a_key()
    async with it.behind_proxy() as (gateway, proxy):
        with proxy.failing(Fault.CUT_AFTER):
            await expect_unknown(
                lambda: gateway.refund(transaction.id, 100, GIVEN_BACK, key=key), proxy
            )
        await gateway.refund(transaction.id, 100, GIVEN_BACK, key=key)

    await _refunded_once(it, transaction)


async def _known(it: GatewayUnderTest, gateway: PaymentGateway) -> str:
    """Return a customer that the gateway knows, so that the next write is the payment's."""
    request = it.request()
    held(await gateway.initiate(request, key=a_key()))
    return request.customer_reference


def _declined(it: GatewayUnderTest) -> str:
    for method in it.methods.declines.values():
        return method
    raise MeansMissingError("methods.toml has no [declines].")


async def _made_once(it: GatewayUnderTest, reference: str, customer: str) -> None:
    if it.gateway.capabilities.lookup_by_reference:
        found = await it.gateway.find_by_reference(reference, customer_reference=customer)
        check(len(found) == 1, f"The request made {len(found)} transactions.")


async def _captured_once(it: GatewayUnderTest, transaction: GatewayTransaction) -> None:
    reported = (await it.known(transaction)).captured_amount
    check(reported == transaction.amount, f"{reported} is captured, not {transaction.amount}.")


async def _refunded_once(it: GatewayUnderTest, transaction: GatewayTransaction) -> None:
    if it.gateway.capabilities.lookup_of_refunds:
        count = len(await it.gateway.find_refunds(transaction.id))
        check(count == 1, f"One refund was asked for, and {count} are reported.")


KEYS: Final = "idempotency_key_lifetime"
BY_REFERENCE: Final = "lookup_by_reference"
CASES: Final = (
    Case(the_same_key_initiates_once, needs=(KEYS,)),
    Case(the_same_key_many_times_at_once_initiates_once, needs=(KEYS,)),
    Case(the_same_key_declines_once, needs=(KEYS,)),
    Case(the_same_key_for_another_amount_is_no_second_transaction, needs=(KEYS,)),
    Case(the_same_key_captures_once, needs=(KEYS, "separate_capture")),
    Case(the_same_key_voids_once, needs=(KEYS, "void")),
    Case(the_same_key_refunds_once, needs=(KEYS, "refund")),
    Case(a_request_that_never_arrived_is_unknown_and_can_be_repeated),
    Case(a_request_whose_answer_was_lost_is_unknown_and_found, needs=(BY_REFERENCE,)),
    Case(a_request_whose_answer_was_lost_is_not_made_twice, needs=(KEYS,)),
    Case(a_decline_whose_answer_was_lost_is_a_decline, needs=(KEYS,)),
    Case(an_error_that_is_repeated_for_a_key_hides_no_transaction, needs=(BY_REFERENCE,)),
    Case(a_capture_whose_answer_was_lost_is_done_once, needs=(KEYS, "separate_capture")),
    Case(a_void_whose_answer_was_lost_is_done_once, needs=(KEYS, "void")),
    Case(a_refund_whose_answer_was_lost_is_done_once, needs=(KEYS, "refund")),
)
