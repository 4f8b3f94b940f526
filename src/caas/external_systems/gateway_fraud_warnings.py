"""Warnings of card issuers that a charge may be fraudulent: an option beside the port.

Seed: Common Discrepancy Scenarios, "Chargeback"; decision 37. A warning moves no money. It often
comes days before the chargeback that a refund would prevent. A gateway that lists its warnings
offers `FraudWarningGateway`.
"""

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec


class FraudWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A warning about a transaction; `reason` is a code of the card scheme or the gateway.

    `reference` is our payment's, empty where the gateway does not send it back.
    """

    id: str
    transaction_id: str
    reason: str
    reference: str = ""


@runtime_checkable
class FraudWarningGateway(Protocol):
    """A gateway that lists the warnings of card issuers."""

    @property
    def name(self) -> str:
        """The name under which its transactions are stored."""
        ...

    async def fraud_warnings(self, since: datetime) -> tuple[FraudWarning, ...]:
        """Return the warnings that came since a moment.

        Raises:
            GatewayFailure: it gave no usable answer.
        """
        ...
