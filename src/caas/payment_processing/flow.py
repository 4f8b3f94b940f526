"""Flows: what each payment type adds to the transitions that every payment makes.

`charges` handles the gateway and Diagram 9; each flow handles its own diagram. A flow returns the
step that is committed together with a transition, and advances the payment after the commit.

Rules a change must keep: an incomplete payment type does not type-check, so no method of `Flow` has
a default and every type has a flow in `Flows`; a step is committed with its transition or not at
all; `advance` starts from the payment's state, so that it may run twice, late, or on another host.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, assert_never
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Command, NewJob
from caas.external_systems.payment_gateway import ChargeTerms
from caas.jobs import JobQueue
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.rules.payment_types import PaymentType


class Alert(Protocol):
    """Alerts operations: a kind, the subject, and a sentence a person can act on."""

    async def __call__(
        self, kind: str, subject: UUID, sentence: str, *, within: Connection | None = None
    ) -> object:
        """Raise the alert, in the caller's transaction when one is given."""


class SideEffects(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow commits together with a transition.

    `also` runs in the same transaction, after the transition, with the payment after it; it may
    run again from its start after a deadlock.
    """

    next: tuple[NewJob, ...] = ()
    done: tuple[str, ...] = ()
    command: Command | None = None
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    also: Callable[[Connection, Payment], Awaitable[None]] | None = None


class Flow(Protocol):
    """One payment type's diagram: everything in which the types differ.

    Eight methods follow a payment; `register` registers their jobs.
    """

    async def check_due(self, request: PaymentRequest) -> Check | None:
        """Raise if the payment can never be due.

        The returned check refuses what may change until the payment is accepted; it runs in the
        transaction that accepts it. None means that nothing may change, so that many payments can
        be accepted in one statement.
        """

    async def terms(self, payment: Payment) -> ChargeTerms:
        """Return who starts this charge, how often it may be tried, and what for."""

    async def is_withdrawn(self, payment: Payment) -> bool:
        """Return whether its customer has withdrawn meanwhile: it is not sent (again) then."""

    async def on_authorized(self, payment: Payment) -> SideEffects:
        """Return what is committed with Funds reserved."""

    async def on_requires_action(self, payment: Payment) -> SideEffects:
        """Return what is committed when the customer must act on the gateway's page."""

    async def on_failed(self, payment: Payment) -> SideEffects:
        """Return what is committed when the payment fails."""

    async def advance(self, payment: Payment) -> Payment:
        """Do the next step for the payment's state; return the payment afterwards."""

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Void the payment, and undo what was done for it.

        Raises:
            CaptureWonError: the charge was committed first.
        """

    def register(self, jobs: JobQueue) -> None:
        """Register the handlers of this flow's jobs."""


class Flows(msgspec.Struct, frozen=True, kw_only=True):
    """The flow of each payment type."""

    reservation: Flow
    final: Flow
    service: Flow
    subscription: Flow

    def of(self, payment_type: PaymentType) -> Flow:
        """Return the flow of this type; a type without one does not type-check."""
        match payment_type:
            case PaymentType.RESERVATION:
                return self.reservation
            case PaymentType.FINAL:
                return self.final
            case PaymentType.SERVICE:
                return self.service
            case PaymentType.SUBSCRIPTION:
                return self.subscription
        assert_never(payment_type)

    def register(self, jobs: JobQueue) -> None:
        """Register the jobs of every flow."""
        for payment_type in PaymentType:
            self.of(payment_type).register(jobs)
