"""The price that a customer agreed to: what was shown, compared with what would be recorded.

A price may change between the page that shows it and the agreement; then nothing is made, and the
customer sees the new price (decision 251).

Rule a change must keep: the price that is compared is the very price that is recorded.
"""

from dataclasses import dataclass

from caas.errors import ConflictError


class PriceChangedError(ConflictError):
    """The price has changed since it was shown. Nothing was bought. `price` is the current one."""

    code = "price_changed"


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """The price of a metered unit, in minor units of the currency of its fee."""

    unit: str
    unit_price: int


@dataclass(frozen=True, slots=True)
class AgreedPrice:
    """An amount in minor units, its currency, and the prices of the metered units beside it.

    `metered` is None where the units were not shown; they are not compared then.
    """

    amount: int
    currency: str
    metered: tuple[UnitPrice, ...] | None = None

    def is_agreed_by(self, shown: "AgreedPrice") -> bool:
        """Return whether the price that was shown is this one."""
        if (shown.amount, shown.currency) != (self.amount, self.currency):
            return False
        return shown.metered is None or _by_unit(shown) == _by_unit(self)


def check_agreed(current: AgreedPrice, shown: AgreedPrice | None) -> None:
    """Check that the customer agreed to the current price, where the agreed one is known.

    Raises:
        PriceChangedError: the price that was shown is another one.
    """
    if shown is not None and not current.is_agreed_by(shown):
        raise PriceChangedError(price=current)


def _by_unit(price: AgreedPrice) -> list[tuple[str, int]]:
    return sorted((one.unit, one.unit_price) for one in price.metered or ())
