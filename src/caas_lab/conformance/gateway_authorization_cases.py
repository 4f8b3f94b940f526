"""Cases of authorization and lookup: held funds, declines, customers who must act, mandates."""

import contextlib
import secrets
from typing import Final

from caas.app import now
from caas.external_systems.gateway_requirements import why_unsafe
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    CaptureMode,
    ChargeTerms,
    GatewayTransaction,
    Initiator,
    TransactionRequest,
    TransactionStatus,
)
from caas.rules.retry_strategy import GatewayErrorKind, decline_kind
from caas_lab.conformance.cases import Case, MeansMissingError, check
from caas_lab.conformance.gateway_under_test import (
    CAPTURED,
    NO_METHOD,
    GatewayUnderTest,
    a_key,
    held,
    in_state,
    key_of,
    refused,
)
from caas_lab.conformance.methods_file import Role, SandboxAction

AUTHORIZED: Final = frozenset({TransactionStatus.AUTHORIZED})
FAILED: Final = frozenset({TransactionStatus.FAILED})
GONE: Final = frozenset({TransactionStatus.VOIDED, TransactionStatus.FAILED})


async def it_is_safe_for_every_payment_type(it: GatewayUnderTest) -> None:
    """The declared capabilities are enough for every payment type of the platform."""
    reason = why_unsafe(it.gateway.capabilities)
    check(not reason, f"The platform would not start: {reason}.")


async def it_is_reached_with_our_credentials_only(it: GatewayUnderTest) -> None:
    """Wrong credentials are refused, and the refusal is not taken for a decline."""
    stranger = it.connected_with(it.methods.wrong_credentials)
    try:
        await refused(
            stranger.initiate(it.request(), key=a_key()), what="A call with wrong credentials"
        )
    finally:
        await stranger.close()


async def funds_are_held_and_nothing_is_charged(it: GatewayUnderTest) -> None:
    """An authorization charges nothing, and the funds are held until later."""
    transaction = await it.authorized()

    check(transaction.captured_amount == 0, f"{transaction.captured_amount} is captured already.")
    check(transaction.settled_amount == 0, f"{transaction.settled_amount} is settled already.")
    until = transaction.capture_before
    check(until is None or until > now(), f"The funds are held until {until} only.")


async def automatic_capture_charges_at_once(it: GatewayUnderTest) -> None:
    """A request with automatic capture is captured when it is answered."""
    request = it.request(capture=CaptureMode.AUTOMATIC)

    transaction = in_state(await it.gateway.initiate(request, key=a_key()), *CAPTURED)

    captured = transaction.captured_amount
    check(captured == request.amount, f"{captured} is captured, not {request.amount}.")


async def amounts_are_minor_units_of_every_currency(it: GatewayUnderTest) -> None:
    """An amount of each currency comes back as it was sent."""
    for currency, amount in it.methods.amounts.items():
        reported = await it.authorized(amount=amount, currency=currency)
        check(
            (reported.amount, reported.currency) == (amount, currency),
            f"{reported.amount} {reported.currency} is reported, not {amount} {currency}.",
        )


async def a_decline_is_reported_with_its_code_and_stays_reported(it: GatewayUnderTest) -> None:
    """A decline is a transaction that failed, with a code that the retry table knows."""
    if not it.methods.declines:
        raise MeansMissingError("methods.toml has no [declines].")
    for code, method in it.methods.declines.items():
        request = it.request(method)
        declined = in_state(
            await it.gateway.initiate(request, key=a_key()), TransactionStatus.FAILED
        )
        kind = decline_kind(declined.decline_code)
        check(
            kind is not GatewayErrorKind.UNRECOGNISED and kind is decline_kind(code),
            f"The decline of {code} has the code {declined.decline_code!r}.",
        )
        found = await it.known(declined)
        check(
            (found.status, found.decline_code) == (declined.status, declined.decline_code),
            f"A lookup of the decline shows {found.status}, {found.decline_code!r}.",
        )


async def what_was_initiated_is_found_by_its_id(it: GatewayUnderTest) -> None:
    """A lookup returns the same transaction as the answer to the request."""
    transaction = await it.authorized()

    found = await it.known(transaction)

    check(found == transaction, f"The answer was {transaction}, the lookup shows {found}.")


async def what_was_initiated_is_found_by_its_reference(it: GatewayUnderTest) -> None:
    """Without the id, the transaction is found by our reference."""
    request = it.request()
    transaction = await it.gateway.initiate(request, key=a_key())

    found = await it.only_one(request)

    check(found == transaction, f"The answer was {transaction}, the lookup shows {found}.")


async def what_was_never_initiated_is_reported_absent(it: GatewayUnderTest) -> None:
    """A lookup by id of nothing is None, or a refusal, and never a transaction."""
    known = await it.authorized()
    half = len(known.id) // 2
    absent = known.id[:half] + secrets.token_hex(len(known.id))[: len(known.id) - half]
    try:
        found = await it.gateway.find(absent)
    except RefusedByPartnerError:
        return
    check(found is None, "A transaction is reported that does not exist.")


async def a_reference_that_was_never_used_has_no_transactions(it: GatewayUnderTest) -> None:
    """An empty answer proves that a payment was never made; it must be right."""
    known = await it.authorized()
    found = await it.gateway.find_by_reference(
        f"{known.reference[:-1]}x", customer_reference="customer-nobody"
    )
    check(not found, f"{len(found)} transactions are reported for a reference that was never used.")


async def a_customer_who_must_confirm_gets_the_gateways_page(it: GatewayUnderTest) -> None:
    """A method that needs 3-D Secure waits for its customer, at an address of the gateway."""
    await _page(it, it.request(it.methods.method(Role.CHALLENGE)))


async def a_customer_who_confirms_is_authorized(it: GatewayUnderTest) -> None:
    """After the confirmation the funds are held, and can be captured."""
    request = it.request(it.methods.method(Role.CHALLENGE))
    page = await _page(it, request)
    await it.act(SandboxAction.CONFIRM, page)

    transaction = await it.becomes(request, page, AUTHORIZED)

    in_state(await it.capture(transaction), *CAPTURED)


async def a_customer_who_does_not_confirm_is_declined(it: GatewayUnderTest) -> None:
    """Where one attempt is allowed, a failed confirmation is a decline with a code."""
    terms = ChargeTerms(single_attempt=True)
    request = it.request(it.methods.method(Role.CHALLENGE), terms=terms)
    page = await _page(it, request)
    await it.act(SandboxAction.REJECT, page)

    failed = await it.becomes(request, page, FAILED)

    check(bool(failed.decline_code), "The decline has no code.")


async def without_a_method_the_customer_gets_the_gateways_page(it: GatewayUnderTest) -> None:
    """A request without a payment method is answered with a page of the gateway."""
    page = await _page(it, it.request(NO_METHOD))
    found = await it.gateway.find(page.id)
    check(
        found is not None and found.status is TransactionStatus.REQUIRES_ACTION,
        "A lookup of the open page does not tell that it waits for the customer.",
    )


async def a_page_that_is_paid_is_authorized(it: GatewayUnderTest) -> None:
    """What is paid on a page is found by our reference, under the id to capture it with."""
    request = it.request(NO_METHOD)
    page = await _page(it, request)
    await it.act(SandboxAction.PAY_PAGE, page)

    transaction = await it.becomes(request, page, AUTHORIZED)

    in_state(await it.capture(transaction), *CAPTURED)


async def a_page_that_is_left_and_voided_charges_nobody(it: GatewayUnderTest) -> None:
    """After its void a page is over, also for a customer who comes back to it."""
    request = it.request(NO_METHOD)
    page = await _page(it, request)
    await it.act(SandboxAction.LEAVE_PAGE, page)
    in_state(await it.void(page), *GONE)
    with contextlib.suppress(MeansMissingError):  # refused, as it should be
        await it.act(SandboxAction.PAY_PAGE, page)
    in_state(await it.current(request, page), *GONE)


async def a_single_attempt_ends_at_its_first_decline(it: GatewayUnderTest) -> None:
    """The final payment has one attempt: a decline on its page ends it."""
    request = it.request(NO_METHOD, terms=ChargeTerms(single_attempt=True))
    page = await _page(it, request)
    await it.act(SandboxAction.DECLINE_PAGE, page)

    failed = await it.becomes(request, page, FAILED)

    check(bool(failed.decline_code), "The decline has no code.")


async def a_saved_method_is_charged_when_no_customer_is_present(it: GatewayUnderTest) -> None:
    """A method is verified, its hold is released, and a month is charged with it later."""
    saving = it.request(it.methods.method(Role.REUSABLE), terms=ChargeTerms(saves_method=True))
    saved = held(await it.gateway.initiate(saving, key=a_key()))
    voided = await it.void(saved)
    in_state(voided, TransactionStatus.VOIDED)
    in_state(await it.known(saved), TransactionStatus.VOIDED)

    month = it.request(
        saved.payment_method or saving.payment_method,
        customer_reference=saving.customer_reference,
        terms=ChargeTerms(initiator=Initiator.MERCHANT),
    )
    charged = held(await it.gateway.initiate(month, key=a_key()))

    in_state(await it.capture(charged), *CAPTURED)


async def _page(it: GatewayUnderTest, request: TransactionRequest) -> GatewayTransaction:
    waiting = in_state(
        await it.gateway.initiate(request, key=key_of(request)), TransactionStatus.REQUIRES_ACTION
    )
    check(
        waiting.hosted_page_url is not None, "The customer must act, and there is no page for it."
    )
    return waiting


BY_REFERENCE: Final = "lookup_by_reference"
PAGE: Final = "hosted_page"
CASES: Final = (
    Case(it_is_safe_for_every_payment_type),
    Case(it_is_reached_with_our_credentials_only),
    Case(funds_are_held_and_nothing_is_charged, needs=("separate_capture",)),
    Case(automatic_capture_charges_at_once),
    Case(amounts_are_minor_units_of_every_currency),
    Case(a_decline_is_reported_with_its_code_and_stays_reported),
    Case(what_was_initiated_is_found_by_its_id),
    Case(what_was_initiated_is_found_by_its_reference, needs=(BY_REFERENCE,)),
    Case(what_was_never_initiated_is_reported_absent, needs=("lookup_by_id",)),
    Case(a_reference_that_was_never_used_has_no_transactions, needs=(BY_REFERENCE,)),
    Case(a_customer_who_must_confirm_gets_the_gateways_page),
    Case(a_customer_who_confirms_is_authorized),
    Case(a_customer_who_does_not_confirm_is_declined),
    Case(without_a_method_the_customer_gets_the_gateways_page, needs=(PAGE,)),
    Case(a_page_that_is_paid_is_authorized, needs=(PAGE,)),
    Case(a_page_that_is_left_and_voided_charges_nobody, needs=(PAGE, "void")),
    Case(a_single_attempt_ends_at_its_first_decline, needs=(PAGE,)),
    Case(
        a_saved_method_is_charged_when_no_customer_is_present, needs=("merchant_initiated", "void")
    ),
)
