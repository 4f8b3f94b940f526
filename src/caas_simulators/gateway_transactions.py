"""The lifecycle of a simulated transaction up to its capture or void.

The seed's `POST /transactions` and `POST /transactions/{id}/void`, and the capture that decision 1
adds.

Rules a change must keep: funds are held before they are captured; each authorization has either a
capture or a void, never both; final states stay final.
"""

import re
from typing import Literal
from urllib.parse import urlsplit

from caas_simulators.banking_network import BankingNetwork
from caas_simulators.gateway_records import (
    AcceptedAnswer,
    Booking,
    InitiateRequest,
    Modification,
    Transaction,
)
from caas_simulators.gateway_store import Refusal, Store, Terms
from caas_simulators.payment_methods import PaymentMethod, method_of
from caas_simulators.simulated_time import rfc3339

AMOUNT_MAX = 2**53
REFERENCE_LENGTH_MAX = 200
CURRENCY_LENGTH = 3
EXPIRED = "authorization_expired"
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Transactions:
    """Opens transactions and advances them up to their capture."""

    def __init__(self, store: Store, bank: BankingNetwork, terms: Terms) -> None:
        """Send captured transactions to the bank; pages get their address later."""
        self._store = store
        self._bank = bank
        self._terms = terms
        self.public_url = ""
        agenda = store.agenda
        agenda.register("expire", self._expire_when_due)
        agenda.register("leave", self._leave_when_due)
        agenda.register("bank_debit", self._authorize_bank_debit)
        agenda.register("modify", self._decide_when_due)

    def show_pages_at(self, public_url: str) -> None:
        """Serve the hosted pages, including open ones, at this address."""
        self.public_url = public_url
        for booking in self._store.bookings.values():
            if booking.transaction.status == "requires_action":
                booking.transaction.hosted_page_url = self._page_of(booking)

    def initiate(self, request: InitiateRequest, decline_code: str | None = None) -> Booking:
        """Open a transaction and apply its payment method's result.

        Raises:
            Refusal: 422, the request is impossible.
        """
        _check(request)
        booking = self._opened(request)
        self._store.enter(booking)
        if decline_code is not None:
            self.decline(booking, decline_code)
        elif request.payment_method is None:
            self._ask_customer(booking)
        else:
            self.pay_with(booking, method_of(request.payment_method))
        return booking

    def pay_with(self, booking: Booking, method: PaymentMethod) -> None:
        """Continue with the payment method that the customer gave or chose."""
        booking.transaction.payment_method = method.token or booking.transaction.payment_method
        if method.decline_code is not None:
            self.decline(booking, method.decline_code)
        elif method.asks_the_customer and not booking.challenge_open:
            booking.challenge_open = True
            self._ask_customer(booking)
        elif method.authorized_later:
            self._wait_for_bank(booking)
        else:
            self.authorize(booking)

    def authorize(self, booking: Booking) -> None:
        """Hold the funds; with automatic capture, capture them at once."""
        transaction = booking.transaction
        method = method_of(transaction.payment_method or "")
        held = (
            self._terms.short_authorization_seconds
            if method.authorization_short
            else self._terms.authorization_seconds
        )
        booking.due_at = self._store.clock.now() + self._store.clock.span(held)
        booking.challenge_open = False
        booking.authorized_amount = transaction.amount
        transaction.status = "authorized"
        transaction.hosted_page_url = None
        transaction.capture_before = rfc3339(booking.due_at)
        self._store.keep(booking, "transaction.authorized")
        if booking.capture == "automatic":
            self._capture(booking, transaction.amount)
        else:
            self._store.agenda.note(booking.due_at, "expire", transaction.id)

    def customer_leaves(self, booking: Booking) -> None:
        """End a transaction whose customer left the hosted page, without a decline."""
        self._end(booking, "voided", "transaction.voided", void_reason="customer_left")

    def decline(self, booking: Booking, code: str) -> None:
        """End a transaction with a decline code."""
        booking.transaction.decline_code = code
        booking.challenge_open = False
        self._end(booking, "failed", "transaction.failed")

    def capture(self, booking: Booking, amount: int | None) -> None:
        """Capture the held funds in full or in part; the rest is released.

        Raises:
            Refusal: 409, it was voided, has expired or is captured; 422, more than is held.
        """
        transaction = booking.transaction
        self._expire_when_due(transaction.id)
        if transaction.status == "voided":
            code = EXPIRED if transaction.void_reason == EXPIRED else "already_voided"
            raise Refusal(409, code, "The funds are not held any more.")
        if transaction.status in ("requires_action", "pending"):
            raise Refusal(409, "not_yet_authorized", "The funds are not held yet.")
        if transaction.status == "failed":
            raise Refusal(409, "already_failed", "The transaction failed.")
        if transaction.status != "authorized":
            raise Refusal(409, "already_captured", "The transaction is captured already.")
        wanted = transaction.amount if amount is None else amount
        if not 0 < wanted <= transaction.amount:
            raise Refusal(422, "invalid_amount", "The amount is not within what is held.")
        self._capture(booking, wanted)

    def void(self, booking: Booking, reason: str | None) -> None:
        """Release the held funds; voiding again changes nothing.

        Raises:
            Refusal: 409, it is captured, or failed before.
        """
        transaction = booking.transaction
        self._expire_when_due(transaction.id)
        if transaction.status == "voided":
            return
        if transaction.status == "failed":
            raise Refusal(409, "already_failed", "The transaction failed; nothing is held.")
        if transaction.status not in ("requires_action", "pending", "authorized"):
            raise Refusal(409, "already_captured", "The transaction is captured already.")
        self._end(booking, "voided", "transaction.voided", void_reason=reason or "requested")

    @property
    def decides_later(self) -> bool:
        """Whether captures and voids are accepted first."""
        return self._terms.modification_seconds > 0

    def accept(
        self,
        booking: Booking,
        operation: Literal["capture", "void"],
        *,
        amount: int | None = None,
        reason: str | None = None,
    ) -> AcceptedAnswer:
        """Take a capture or void up; whether it is done is decided later, and then reported.

        Raises:
            Refusal: 409, the funds are not held yet; 422, more than was asked for.
        """
        if booking.transaction.status == "pending":
            raise Refusal(409, "not_yet_authorized", "The funds are not held yet.")
        if operation == "capture" and booking.transaction.status == "requires_action":
            raise Refusal(409, "not_yet_authorized", "The funds are not held yet.")
        if amount is not None and not 0 < amount <= booking.transaction.amount:
            raise Refusal(422, "invalid_amount", "The amount is not within what is held.")
        due_at = self._store.clock.now() + self._store.clock.span(self._terms.modification_seconds)
        one = Modification(
            id=self._store.new_id("mod"), operation=operation, due_at=due_at, amount=amount,
            reason=reason,
        )  # fmt: skip
        booking.modifications.append(one)
        self._store.keep(booking)
        self._store.agenda.note(due_at, "modify", booking.transaction.id)
        return AcceptedAnswer(id=one.id, transaction_id=booking.transaction.id)

    def expire(self, booking: Booking) -> None:
        """Expire an authorization or a hosted page now.

        Raises:
            Refusal: 409, neither is open.
        """
        if booking.transaction.status == "authorized":
            self._end(booking, "voided", "transaction.expired", void_reason=EXPIRED)
        elif booking.transaction.status == "requires_action":
            self._end(booking, "voided", "transaction.expired", void_reason="page_expired")
        else:
            raise Refusal(409, "nothing_to_expire", "Neither funds nor a page are open.")

    def resume(self, booking: Booking) -> None:
        """Schedule what is due for a transaction again after a restart."""
        status = booking.transaction.status
        for one in booking.modifications:
            self._store.agenda.note(one.due_at, "modify", booking.transaction.id)
        kinds = {"authorized": "expire", "requires_action": "leave", "pending": "bank_debit"}
        if status in kinds:
            self._store.agenda.note(booking.due_at, kinds[status], booking.transaction.id)

    def _opened(self, request: InitiateRequest) -> Booking:
        transaction = Transaction(
            id=self._store.new_id("txn"),
            reference=request.reference,
            status="pending",
            amount=request.amount,
            currency=request.currency,
            created_at=self._store.now_text(),
            payment_method=request.payment_method,
        )
        return Booking(
            transaction=transaction,
            capture=request.capture,
            customer_reference=request.customer_reference,
            description=request.description,
            return_url=request.return_url,
        )

    def _ask_customer(self, booking: Booking) -> None:
        transaction = booking.transaction
        transaction.status = "requires_action"
        transaction.hosted_page_url = self._page_of(booking)
        self._due_in(booking, self._terms.page_seconds, "leave")
        self._store.keep(booking)

    def _page_of(self, booking: Booking) -> str:
        return f"{self.public_url}/pay/{booking.transaction.id}"

    def _wait_for_bank(self, booking: Booking) -> None:
        booking.transaction.status = "pending"
        booking.transaction.hosted_page_url = None
        self._due_in(booking, self._terms.bank_debit_seconds, "bank_debit")
        self._store.keep(booking)

    def _due_in(self, booking: Booking, world_seconds: float, kind: str) -> None:
        booking.due_at = self._store.clock.now() + self._store.clock.span(world_seconds)
        self._store.agenda.note(booking.due_at, kind, booking.transaction.id)

    def _capture(self, booking: Booking, amount: int) -> None:
        booking.captures += 1
        booking.transaction.status = "capturing"
        booking.transaction.captured_amount = amount
        self._bank.settlement_request(booking)
        self._store.keep(booking, "transaction.capturing")

    def _end(
        self,
        booking: Booking,
        status: Literal["failed", "voided"],
        event_type: str,
        void_reason: str | None = None,
    ) -> None:
        booking.transaction.status = status
        booking.transaction.void_reason = void_reason
        booking.transaction.hosted_page_url = None
        self._store.keep(booking, event_type)

    def _expire_when_due(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        if booking.transaction.status == "authorized" and booking.due_at <= self._store.clock.now():
            self.expire(booking)

    def _leave_when_due(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        if booking.transaction.status == "requires_action":
            self.expire(booking)

    def _decide_when_due(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        now = self._store.clock.now()
        due = [one for one in booking.modifications if one.due_at <= now]
        booking.modifications = [one for one in booking.modifications if one.due_at > now]
        for one in due:
            try:
                if one.operation == "capture":
                    self.capture(booking, one.amount)
                elif booking.transaction.status == "voided":
                    self._store.keep(booking, "transaction.voided")
                else:
                    self.void(booking, one.reason)
            except Refusal as refusal:
                refused = {
                    "id": one.id, "transaction_id": transaction_id,
                    "reference": booking.transaction.reference, "code": refusal.code,
                }  # fmt: skip
                self._store.notify(booking, f"{one.operation}.refused", refused, booking)

    def _authorize_bank_debit(self, transaction_id: str) -> None:
        booking = self._store.bookings[transaction_id]
        if booking.transaction.status == "pending":
            self.authorize(booking)


def _check(request: InitiateRequest) -> None:
    if not 0 < request.amount <= AMOUNT_MAX:
        raise Refusal(422, "invalid_amount", "The amount must be a positive whole number.")
    currency = request.currency
    if len(currency) != CURRENCY_LENGTH or not (currency.isascii() and currency.isupper()):
        raise Refusal(422, "invalid_currency", "The currency must be an ISO 4217 code.")
    if not 0 < len(request.reference) <= REFERENCE_LENGTH_MAX:
        raise Refusal(422, "invalid_reference", "A merchant reference is needed.")
    if request.return_url is not None and not may_return_to(request.return_url):
        raise Refusal(422, "invalid_return_url", "The return URL must be http or https.")


def may_return_to(url: str) -> bool:
    """Return whether a customer may be redirected to this address: http or https, with a host."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return False
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc) is not None
