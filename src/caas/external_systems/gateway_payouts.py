"""Payouts to our bank account, as a gateway reports them: an option beside the port.

Seed: Diagram 10; what a gateway pays out is what its settlement reports have. A gateway that lists
its payouts offers `PayoutGateway`; the others are reconciled by their reports alone.
"""

from datetime import date
from typing import Protocol, runtime_checkable

import msgspec


class GatewayPayout(msgspec.Struct, frozen=True, kw_only=True):
    """A payout, with the net amount of each movement in it by the id of its report line.

    `movements` is None where the gateway does not say what a payout consists of.
    """

    id: str
    created_on: date
    amount: int
    currency: str
    is_returned: bool
    movements: dict[str, int] | None


@runtime_checkable
class PayoutGateway(Protocol):
    """A gateway that lists its payouts."""

    @property
    def name(self) -> str:
        """The name under which its reports are stored."""
        ...

    async def payouts(self, day: date) -> tuple[GatewayPayout, ...]:
        """Return the payouts that were made on a day (UTC).

        Raises:
            GatewayFailure: it gave no usable answer.
        """
        ...
