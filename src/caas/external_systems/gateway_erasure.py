"""Erasing a customer at a gateway: an option beside the port.

Seed: none; decision 92. A gateway that keeps customers and their saved cards offers
`ErasingGateway`.
"""

from typing import Protocol, runtime_checkable


@runtime_checkable
class ErasingGateway(Protocol):
    """A gateway that erases what it keeps of a customer."""

    @property
    def name(self) -> str:
        """The name under which its customers are stored."""
        ...

    async def erase_customer(self, customer_reference: str) -> None:
        """Erase what is kept of a customer, and the saved cards; repeating it is harmless.

        Raises:
            GatewayFailure: whether it was done is not known.
        """
        ...
