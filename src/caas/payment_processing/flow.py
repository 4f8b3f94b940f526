"""What a flow of one payment type adds to the moves that every payment makes.

`charges` knows the gateway and Diagram 9; a flow knows its own diagram. A flow answers with the
step that is committed together with the move, and carries on after the commit.

Rules a change must keep: a payment type is whole or it does not type-check, so no method of `Flow`
has a default and no type is without a flow in `Flows`; a step is committed with its move or not at
all; carrying on looks at where the payment stands and does the next thing, so that it may run
twice, late, or elsewhere.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, assert_never
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.payments import Payment
from caas.billing_database.transitions import Command, NewJob
from caas.jobs import JobQueue
from caas.payment_processing.initiation import Check, PaymentRequest
from caas.rules.payment_types import PaymentType


class Alert(Protocol):
    """Tells operations: a kind, the subject, and a sentence a person can act on."""

    async def __call__(
        self, kind: str, subject: UUID, sentence: str, *, within: Connection | None = None
    ) -> object:
        """Tell, in the caller's transaction when one is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is committed together with a move.

    `also` runs in the same transaction, after the move, with the payment as moved; it may run
    again from its start after a deadlock.
    """

    next: tuple[NewJob, ...] = ()
    done: tuple[str, ...] = ()
    command: Command | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    also: Callable[[Connection, Payment], Awaitable[None]] | None = None


class Flow(Protocol):
    """One payment type's diagram: everything in which the types differ.

    Six methods follow a payment; `register` takes the work that they leave for later.
    """

    async def check_due(self, request: PaymentRequest) -> Check | None:
        """Refuse, by raising, a payment that can never be due.

        What may change until the payment is accepted is refused by the check that is returned: it
        runs in the transaction that accepts it. None says that nothing of it may change, and lets
        payments be accepted many in one statement.
        """

    async def on_authorized(self, payment: Payment) -> Step:
        """Say what is committed with Funds reserved."""

    async def on_requires_action(self, payment: Payment) -> Step:
        """Say what is committed when the gateway waits for the customer on its own page."""

    async def on_failed(self, payment: Payment) -> Step:
        """Say what is committed when the payment fails."""

    async def advance(self, payment: Payment) -> Payment:
        """Do the next thing for a payment in the state it is in; return it as it stands then."""

    async def void(self, payment: Payment, reason: str) -> Payment:
        """Let go of what is held for a payment, with all that has to be undone for it.

        Raises:
            CaptureWonError: the charge was committed first.
        """

    def register(self, jobs: JobQueue) -> None:
        """Take the work this flow leaves for later, if it leaves any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flows:
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
        """Take the work of every flow."""
        for payment_type in PaymentType:
            self.of(payment_type).register(jobs)
