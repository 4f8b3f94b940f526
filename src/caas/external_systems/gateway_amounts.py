"""Which amounts and currencies a payment gateway charges, known before it is asked (decision 250).

Rule a change must keep: only what the provider documents; an amount that may be charged is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from caas.rules.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenAmounts:
    """What a gateway charges: its currencies (None: any), and its limits where it has some.

    `smallest` is by currency, `largest` for each; both in minor units, and both are charged.
    """

    currencies: frozenset[str] | None = None
    smallest: Mapping[str, int] = field(default_factory=dict, hash=False)
    largest: int | None = None

    def take_currency(self, currency: str) -> bool:
        """Return whether the gateway charges in this currency."""
        return self.currencies is None or currency in self.currencies

    def take(self, money: Money) -> bool:
        """Return whether the gateway charges this amount, as far as is known beforehand."""
        if not self.take_currency(money.currency):
            return False
        small = money.amount < self.smallest.get(money.currency, 0)
        return not small and (self.largest is None or money.amount <= self.largest)


ANY_AMOUNT: Final = TakenAmounts()
