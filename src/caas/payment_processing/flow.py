"""What a flow of one payment type adds to the moves that every payment makes.

`charges` knows the gateway and Diagram 9; a flow knows its own diagram. A flow answers with the
step that is committed together with the move, and carries on after the commit.

Rules a change must keep: a step is committed with its move or not at all; carrying on looks at
where the payment stands and does the next thing, so that it may run twice, late, or elsewhere.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.moves import Command, Work
from caas.billing_database.payments import Payment


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

    next: tuple[Work, ...] = ()
    done: tuple[str, ...] = ()
    command: Command | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    also: Callable[[Connection, Payment], Awaitable[None]] | None = None


class Flow(Protocol):
    """One payment type's diagram."""

    async def when_authorised(self, payment: Payment) -> Step:
        """Say what is committed with Funds reserved."""

    async def when_customer_must_act(self, payment: Payment) -> Step:
        """Say what is committed when the gateway waits for the customer on its own page."""

    async def when_failed(self, payment: Payment) -> Step:
        """Say what is committed when the payment fails."""

    async def carry_on(self, payment: Payment) -> Payment:
        """Do the next thing for a payment in the state it is in; return it as it stands then."""


class CustomerIsThere:
    """What a flow is whose customer waits for the answer, and goes to the gateway's page by it."""

    async def when_customer_must_act(
        self,
        payment: Payment,  # noqa: ARG002  # the answer tells the customer everything
    ) -> Step:
        """Tell nobody anything."""
        return Step()
