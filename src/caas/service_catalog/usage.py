"""Metered use of subscriptions (Diagram 6, "Customer uses service throughout the month").

Rules a change must keep: the same source counts once, and what it told first counts; use is
written down whenever it is told, and billed only where the service was delivered (decision 29).
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.subscriptions import Subscription, SubscriptionRows, Use
from caas.errors import ConflictError, RefusedError
from caas.rules.card_numbers import contains_card_number

QUANTITY_MAX: Final = 10**12
SOURCE_ID_CHARS_MAX: Final = 200


class InvalidUsageError(RefusedError):
    """The use is not described as this subscription meters it."""

    code = "invalid_usage"


class UsageConflictError(ConflictError):
    """This source has told something else before; what was told first counts."""

    code = "usage_conflict"


class Usage:
    """Who used how much of what, and when."""

    def __init__(self, *, books: Books) -> None:
        """Keep the use in these books."""
        self._rows = SubscriptionRows(books.database)

    async def record_usage(
        self,
        subscription_id: UUID,
        *,
        quantity: int,
        at: datetime,
        source_id: str,
        unit: str | None = None,
    ) -> bool:
        """Write use down; False when this source told the same before.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
            InvalidUsageError: not a unit of this subscription, or not a moment of it.
            UsageConflictError: this source told something else before.
        """
        subscription = await self._rows.get(subscription_id)
        use = Use(source_id, _unit_of(subscription, unit), quantity, at)
        _check(subscription, use)
        fresh, stored = await self._rows.use(subscription_id, use)
        if stored is None:
            raise InvalidUsageError("Nothing can be used in the future; check the source's clock.")
        if (stored.unit, stored.quantity, stored.at) != (use.unit, use.quantity, use.at):
            raise UsageConflictError(source_id=source_id)
        return fresh

    async def used(self, subscription_id: UUID, *, before: datetime | None = None) -> list[Use]:
        """Return what was used of a subscription, newest first."""
        return await self._rows.used(subscription_id, before=before)


def _unit_of(subscription: Subscription, unit: str | None) -> str:
    """Return the unit that was meant: the only one, when none is named."""
    units = [metered["unit"] for metered in subscription.metered]
    if unit is None and len(units) == 1:
        return str(units[0])
    if unit is None or unit not in units:
        raise InvalidUsageError(
            f"'{subscription.service}' is metered in: {', '.join(units) or 'nothing'}."
        )
    return unit


def _check(subscription: Subscription, use: Use) -> None:
    if subscription.activated_at is None:
        raise InvalidUsageError("The subscription was never active; nothing of it can be used.")
    if use.at.tzinfo is None:
        raise InvalidUsageError("The moment of use needs its time zone.")
    if not 1 <= use.quantity <= QUANTITY_MAX:
        raise InvalidUsageError(f"A quantity is a whole number from 1 to {QUANTITY_MAX}.")
    if not 1 <= len(use.source_id.strip()) <= SOURCE_ID_CHARS_MAX:
        raise InvalidUsageError(f"A source id has 1 to {SOURCE_ID_CHARS_MAX} characters.")
    if contains_card_number(use.source_id):
        raise InvalidUsageError("A source id holds no card number.")
