"""Metered usage of subscriptions (Diagram 6, "Customer uses service throughout the month").

A source reports how much was used and when. Usage outside the delivered term can never be billed,
so it is answered as not counted and not stored (decision 29). Records are immutable: a
counter-record cancels a whole record until an invoice bills it; afterwards a credit note corrects
the invoice. Disputed usage is excluded from invoices until the dispute ends.

Rules a change must keep: a source id counts once, and its first report wins; usage that would
exceed the largest payment is not stored, so that one record cannot block a month's invoice.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.customers import CustomerErasedError
from caas.billing_database.subscriptions import Subscription, SubscriptionRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.usage_records import UsageDispute, UsageRecords, Use
from caas.errors import ConflictError, NotFoundError, RefusedError
from caas.rules.card_numbers import contains_card_number
from caas.rules.mes_vencido import DeliveredInterval, was_delivered
from caas.rules.money import AMOUNT_MAX

QUANTITY_MAX: Final = 10**9
"""Maximum quantity of one record."""

WAITING_MAX: Final = 10**10
"""Maximum unbilled quantity of one unit."""

MONTH_MAX: Final = AMOUNT_MAX
"""Maximum net amount of a month; with any tax it is still a valid payment."""

SOURCE_ID_CHARS_MAX: Final = 200
DISPUTED_BY_CHARS_MAX: Final = 200


class NotCounted(StrEnum):
    """Why usage was not counted."""

    REPORTED_BEFORE = "usage_already_recorded"
    BEFORE_ACTIVATION = "before_activation"
    BEFORE_TERM = "before_term"
    AFTER_END = "after_end"


class DisputeOutcome(StrEnum):
    """Outcome of a usage dispute."""

    BILLED = "billed"
    CANCELLED = "cancelled"


class InvalidUsageError(RefusedError):
    """The usage does not match the subscription's metering."""

    code = "invalid_usage"


class UsageTooLargeError(RefusedError):
    """The usage exceeds what a month or a payment allows. Check the unit and the quantity."""

    code = "usage_too_large"


class UsageConflictError(ConflictError):
    """This source id was already used with different content. The first report counts."""

    code = "usage_conflict"


class UsageBilledError(ConflictError):
    """An invoice already bills this usage. Correct the invoice with a credit note."""

    code = "usage_billed"


class UsageNotFoundError(NotFoundError):
    """This subscription has no usage with this source id."""

    code = "usage_not_found"


class UsageDisputeNotFoundError(NotFoundError):
    """No usage dispute has this id."""

    code = "usage_dispute_not_found"


class UsageDisputeEndedError(ConflictError):
    """The dispute has already ended with another outcome."""

    code = "usage_dispute_ended"


class Usage:
    """Records usage and usage disputes."""

    def __init__(self, *, tables: BillingDatabase) -> None:
        """Use these tables."""
        self._database = tables.database
        self._subscriptions = SubscriptionRows(tables.database)
        self._records = UsageRecords(tables.database)
        self._entitlements = tables.entitlements

    async def record_usage(
        self,
        subscription_id: UUID,
        *,
        quantity: int,
        at: datetime,
        source_id: str,
        unit: str | None = None,
        cancels: str | None = None,
    ) -> NotCounted | None:
        """Record usage, or cancel the record in `cancels`; return why it does not count.

        Raises:
            SubscriptionNotFoundError: no subscription has this id.
            InvalidUsageError: the unit or the time is invalid for this subscription.
            UsageTooLargeError: the amount would exceed the largest payment.
            UsageConflictError: the source id was used with different content.
            UsageNotFoundError, UsageBilledError: the cancelled record does not exist or is billed.
        """

        async def record(connection: Connection) -> NotCounted | None:
            if cancels is not None:
                await self._records.hold_off_invoices(within=connection)
            subscription = await self._subscriptions.locked(subscription_id, within=connection)
            use = Use(source_id, _unit_of(subscription, unit), quantity, at, cancels=cancels)
            _check(use)
            return await self._recorded(subscription, use, within=connection)

        return await self._database.in_transaction(record)

    async def used(self, subscription_id: UUID, *, before: datetime | None = None) -> list[Use]:
        """Return a subscription's usage, newest first."""
        return await self._records.listed(subscription_id, before=before)

    async def dispute(
        self, subscription_id: UUID, source_id: str, *, because: str, by: str
    ) -> UsageDispute:
        """Dispute usage: no invoice bills it until the dispute ends.

        Raises:
            SubscriptionNotFoundError, UsageNotFoundError: no such usage.
            UsageBilledError: an invoice already bills it.
            UsageConflictError: it was cancelled.
            CustomerErasedError: the customer was erased and is no longer billed.
        """

        async def dispute(connection: Connection) -> UsageDispute:
            await self._records.hold_off_invoices(within=connection)
            await self._subscriptions.locked(subscription_id, within=connection)
            await self._refuse_of_erased(subscription_id, within=connection)
            await self._unbilled(subscription_id, source_id, within=connection)
            return await self._records.open_dispute(
                subscription_id, source_id, because=because, by=by, within=connection
            )

        return await self._database.in_transaction(dispute)

    async def end_dispute(
        self, dispute_id: UUID, *, outcome: DisputeOutcome, by: str
    ) -> UsageDispute:
        """End a dispute: the usage is billed with the next invoice, or cancelled.

        Raises:
            UsageDisputeNotFoundError: no dispute has this id.
            UsageDisputeEndedError: it has ended with another outcome.
            CustomerErasedError: the customer was erased; the usage can only be cancelled.
        """

        async def end(connection: Connection) -> UsageDispute:
            await self._records.hold_off_invoices(within=connection)
            dispute = await self._records.dispute(dispute_id, within=connection)
            if dispute is None:
                raise UsageDisputeNotFoundError(f"No dispute has the id {dispute_id}.")
            if dispute.outcome not in {None, outcome}:
                raise UsageDisputeEndedError(dispute=str(dispute_id), outcome=dispute.outcome)
            if dispute.outcome is None and outcome is DisputeOutcome.CANCELLED:
                await self._cancel_record(dispute, within=connection)
            elif dispute.outcome is None:
                await self._refuse_of_erased(dispute.subscription, within=connection)
            if dispute.outcome is None:
                dispute = await self._records.end_dispute(
                    dispute_id, outcome=outcome, by=by, within=connection
                )
            return dispute

        return await self._database.in_transaction(end)

    async def _refuse_of_erased(self, subscription: UUID, *, within: Connection) -> None:
        if await self._records.is_erased(subscription, within=within):
            raise CustomerErasedError("The customer was erased and is no longer billed.")

    async def _recorded(
        self, subscription: Subscription, use: Use, *, within: Connection
    ) -> NotCounted | None:
        reported = await self._records.find(subscription.id, use.source_id, within=within)
        if reported is not None:
            if _facts(reported) != _facts(use):
                raise UsageConflictError(source_id=use.source_id)
            return NotCounted.REPORTED_BEFORE
        if use.cancels is not None:
            await self._check_cancelled(subscription, use, within=within)
        elif outside := _outside(subscription, use.at):
            return outside
        elif await self._records.is_erased(subscription.id, within=within):
            return NotCounted.AFTER_END
        elif await self._is_before_term(subscription, use.at, within=within):
            return NotCounted.BEFORE_TERM
        else:
            waiting = await self._records.waiting(subscription.id, within=within)
            _refuse_too_much(subscription, use, waiting)
        if not await self._records.add(subscription.id, use, within=within):
            raise InvalidUsageError("The usage is in the future. Check the source's clock.")
        return None

    async def _is_before_term(
        self, subscription: Subscription, at: datetime, *, within: Connection
    ) -> bool:
        """Return whether a term paid separately was still running at this time."""
        starts_at = await self._entitlements.billed_from(subscription.id, within=within)
        return starts_at is not None and at < starts_at

    async def _check_cancelled(
        self, subscription: Subscription, use: Use, *, within: Connection
    ) -> None:
        """Check that a counter-record cancels a whole unbilled record, and end its dispute."""
        assert use.cancels is not None, "only a counter-record cancels"
        reported = await self._unbilled(subscription.id, use.cancels, within=within)
        if (reported.unit, -reported.quantity, reported.at) != (use.unit, use.quantity, use.at):
            raise InvalidUsageError(
                f"A record that cancels '{use.cancels}' must cancel all of it: "
                f"quantity {-reported.quantity}, unit '{reported.unit}', at "
                f"{reported.at.isoformat()}. Then record the correct usage."
            )
        dispute = await self._records.dispute_of(subscription.id, use.cancels, within=within)
        if dispute is not None:
            await self._records.end_dispute(
                dispute.id, outcome=DisputeOutcome.CANCELLED, by=use.source_id, within=within
            )

    async def _unbilled(self, subscription: UUID, source_id: str, *, within: Connection) -> Use:
        reported = await self._records.find(subscription, source_id, within=within)
        if reported is None or reported.cancels is not None:
            raise UsageNotFoundError(
                f"The subscription {subscription} has no usage with the source id '{source_id}'."
            )
        if reported.invoice is not None:
            raise UsageBilledError(
                f"The invoice {reported.invoice} already bills this usage. Correct "
                "it with a credit note."
            )
        back = await self._records.cancelled_by(subscription, source_id, within=within)
        if back is not None:
            raise UsageConflictError(f"The record '{source_id}' is already cancelled.")
        return reported

    async def _cancel_record(self, dispute: UsageDispute, *, within: Connection) -> None:
        reported = await self._records.find(dispute.subscription, dispute.source_id, within=within)
        assert reported is not None, "a dispute refers to stored usage"
        back = Use(
            f"dispute {dispute.id}",
            reported.unit,
            -reported.quantity,
            reported.at,
            cancels=reported.source_id,
        )
        await self._records.add(dispute.subscription, back, within=within)


def _facts(use: Use) -> tuple[object, ...]:
    return use.unit, use.quantity, use.at, use.cancels


def _unit_of(subscription: Subscription, unit: str | None) -> str:
    """Return the given unit, or the only one if none is given."""
    units = [metered["unit"] for metered in subscription.metered]
    if unit is None and len(units) == 1:
        return str(units[0])
    if unit is None or unit not in units:
        raise InvalidUsageError(
            f"'{subscription.service}' is metered in: {', '.join(units) or 'nothing'}."
        )
    return unit


def _check(use: Use) -> None:
    if use.at.tzinfo is None:
        raise InvalidUsageError("The time of usage must have a time zone.")
    if not 1 <= abs(use.quantity) <= QUANTITY_MAX:
        raise InvalidUsageError(f"A quantity must be a whole number from 1 to {QUANTITY_MAX}.")
    if (use.quantity < 0) != (use.cancels is not None):
        raise InvalidUsageError(
            "A record that cancels another one has its negative quantity and names "
            "it in `cancels`; all other quantities are above zero."
        )
    if not 1 <= len(use.source_id.strip()) <= SOURCE_ID_CHARS_MAX:
        raise InvalidUsageError(f"A source id has 1 to {SOURCE_ID_CHARS_MAX} characters.")
    if contains_card_number(use.source_id):
        raise InvalidUsageError("A source id must not contain a card number.")


def _outside(subscription: Subscription, at: datetime) -> NotCounted | None:
    """Return why a time is outside the delivered term, or None."""
    begin = subscription.activated_at
    if begin is None or at < begin:
        return NotCounted.BEFORE_ACTIVATION
    ends = [end for end in (subscription.cancelled_at, subscription.deactivated_at) if end]
    term = DeliveredInterval(begin, min(ends, default=None))
    return None if was_delivered(at, [term]) else NotCounted.AFTER_END


def _refuse_too_much(subscription: Subscription, use: Use, waiting: dict[str, int]) -> None:
    """Refuse usage that would make the next invoice exceed the largest payment."""
    after = {**waiting, use.unit: waiting.get(use.unit, 0) + use.quantity}
    if after[use.unit] > WAITING_MAX:
        raise UsageTooLargeError(
            f"{after[use.unit]} {use.unit} would be unbilled, but at most "
            f"{WAITING_MAX} may be. Check the unit, and cancel incorrect records."
        )
    prices = {metered["unit"]: int(metered["unit_price"]) for metered in subscription.metered}
    gross = subscription.monthly_fee + sum(
        quantity * prices.get(unit, 0) for unit, quantity in after.items()
    )
    if gross > MONTH_MAX:
        raise UsageTooLargeError(
            f"The month would cost {gross} minor units, but a payment is at most "
            f"{MONTH_MAX}. Check the unit, and cancel incorrect records."
        )
