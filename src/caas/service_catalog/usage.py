"""Metered use of subscriptions (Diagram 6, "Customer uses service throughout the month").

Theory of operation
-------------------

A source tells how much was used and when. What may ever be billed is written down once; what lies
outside the delivered term never can be, so it is answered as not counted and not kept
(decision 29). A record is never changed: a counter-record takes it back, whole, while no invoice
bills it; afterwards a credit note corrects the invoice. Disputed use waits, and the rest of its
month is billed.

Rules a change must keep: the same source counts once, and what it told first counts; nothing is
written down that no payment could carry, so that one record never stands in the way of a month.
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
"""The most that one record may say."""

WAITING_MAX: Final = 10**10
"""The most of one unit that may wait for an invoice: what a month may bring."""

MONTH_MAX: Final = AMOUNT_MAX
"""The most that a month may come to before tax: with any tax it is a payment still."""

SOURCE_ID_CHARS_MAX: Final = 200
DISPUTED_BY_CHARS_MAX: Final = 200


class NotCounted(StrEnum):
    """Why use was not counted."""

    REPORTED_BEFORE = "usage_already_recorded"
    BEFORE_ACTIVATION = "before_activation"
    BEFORE_TERM = "before_term"
    AFTER_END = "after_end"


class DisputeOutcome(StrEnum):
    """What becomes of disputed use."""

    BILLED = "billed"
    CANCELLED = "cancelled"


class InvalidUsageError(RefusedError):
    """The use is not described as this subscription meters it."""

    code = "invalid_usage"


class UsageTooLargeError(RefusedError):
    """More than a month may bring or a payment may carry; check the unit and the quantity."""

    code = "usage_too_large"


class UsageConflictError(ConflictError):
    """This source has told something else before; what was told first counts."""

    code = "usage_conflict"


class UsageBilledError(ConflictError):
    """An invoice bills this use already; correct the invoice with a credit note."""

    code = "usage_billed"


class UsageNotFoundError(NotFoundError):
    """No use of this subscription is known from this source."""

    code = "usage_not_found"


class UsageDisputeNotFoundError(NotFoundError):
    """No dispute about use has this id."""

    code = "usage_dispute_not_found"


class UsageDisputeEndedError(ConflictError):
    """The dispute has ended with another outcome."""

    code = "usage_dispute_ended"


class Usage:
    """Who used how much of what, and when."""

    def __init__(self, *, tables: BillingDatabase) -> None:
        """Keep the use in these books."""
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
        """Write use down, or take back what `cancels` told; say why when it does not count.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
            InvalidUsageError: not a unit of this subscription, or not a moment of it.
            UsageTooLargeError: no payment could carry it.
            UsageConflictError: this source told something else before.
            UsageNotFoundError, UsageBilledError: there is nothing to take back, or not any more.
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
        """Return what was used of a subscription, newest first."""
        return await self._records.listed(subscription_id, before=before)

    async def dispute(
        self, subscription_id: UUID, source_id: str, *, because: str, by: str
    ) -> UsageDispute:
        """Let use wait: no invoice bills it until the dispute has ended.

        Raises:
            SubscriptionNotFoundError, UsageNotFoundError: there is no such use.
            UsageBilledError: an invoice bills it already.
            UsageConflictError: it was taken back, so there is nothing to dispute.
            CustomerErasedError: nothing is billed to its customer any more.
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
        """Decide a dispute: the use is billed with the next invoice, or is taken back.

        Raises:
            UsageDisputeNotFoundError: there is none with this id.
            UsageDisputeEndedError: it has ended otherwise.
            CustomerErasedError: its customer was erased, so that it can only be cancelled.
        """

        async def end(connection: Connection) -> UsageDispute:
            await self._records.hold_off_invoices(within=connection)
            dispute = await self._records.dispute(dispute_id, within=connection)
            if dispute is None:
                raise UsageDisputeNotFoundError(f"No dispute has the id {dispute_id}.")
            if dispute.outcome not in {None, outcome}:
                raise UsageDisputeEndedError(dispute=str(dispute_id), outcome=dispute.outcome)
            if dispute.outcome is None and outcome is DisputeOutcome.CANCELLED:
                await self._take_back(dispute, within=connection)
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
            raise CustomerErasedError("The customer was erased, and nothing is billed to them.")

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
            raise InvalidUsageError("Nothing can be used in the future; check the source's clock.")
        return None

    async def _is_before_term(
        self, subscription: Subscription, at: datetime, *, within: Connection
    ) -> bool:
        """Whether a term that was paid for otherwise still ran at this moment."""
        starts_at = await self._entitlements.billed_from(subscription.id, within=within)
        return starts_at is not None and at < starts_at

    async def _check_cancelled(
        self, subscription: Subscription, use: Use, *, within: Connection
    ) -> None:
        """Let a counter-record take back all of what is not billed; a dispute of it ends."""
        assert use.cancels is not None, "only a counter-record takes back"
        reported = await self._unbilled(subscription.id, use.cancels, within=within)
        if (reported.unit, -reported.quantity, reported.at) != (use.unit, use.quantity, use.at):
            raise InvalidUsageError(
                f"A record that cancels '{use.cancels}' cancels all of it: quantity "
                f"{-reported.quantity}, unit '{reported.unit}', at {reported.at.isoformat()}. "
                "Then record what is right."
            )
        dispute = await self._records.dispute_of(subscription.id, use.cancels, within=within)
        if dispute is not None:
            await self._records.end_dispute(
                dispute.id, outcome=DisputeOutcome.CANCELLED, by=use.source_id, within=within
            )

    async def _unbilled(self, subscription: UUID, source_id: str, *, within: Connection) -> Use:
        reported = await self._records.find(subscription, source_id, within=within)
        if reported is None or reported.cancels is not None:
            raise UsageNotFoundError(f"No use of {subscription} is known from '{source_id}'.")
        if reported.invoice is not None:
            raise UsageBilledError(
                f"The invoice {reported.invoice} already bills it. Correct that invoice with a "
                "credit note."
            )
        back = await self._records.cancelled_by(subscription, source_id, within=within)
        if back is not None:
            raise UsageConflictError(f"What '{source_id}' told was taken back already.")
        return reported

    async def _take_back(self, dispute: UsageDispute, *, within: Connection) -> None:
        reported = await self._records.find(dispute.subscription, dispute.source_id, within=within)
        assert reported is not None, "a dispute is about use that is there"
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
    """Return the unit that was meant: the only one, when none is named."""
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
        raise InvalidUsageError("The moment of use needs its time zone.")
    if not 1 <= abs(use.quantity) <= QUANTITY_MAX:
        raise InvalidUsageError(f"A quantity is a whole number from 1 to {QUANTITY_MAX}.")
    if (use.quantity < 0) != (use.cancels is not None):
        raise InvalidUsageError(
            "A record that takes another one back has its quantity with a minus and names it in "
            "`cancels`; other quantities are above zero."
        )
    if not 1 <= len(use.source_id.strip()) <= SOURCE_ID_CHARS_MAX:
        raise InvalidUsageError(f"A source id has 1 to {SOURCE_ID_CHARS_MAX} characters.")
    if contains_card_number(use.source_id):
        raise InvalidUsageError("A source id holds no card number.")


def _outside(subscription: Subscription, at: datetime) -> NotCounted | None:
    """Say why a moment lies outside the delivered term, None when it lies inside."""
    begin = subscription.activated_at
    if begin is None or at < begin:
        return NotCounted.BEFORE_ACTIVATION
    ends = [end for end in (subscription.cancelled_at, subscription.deactivated_at) if end]
    term = DeliveredInterval(begin, min(ends, default=None))
    return None if was_delivered(at, [term]) else NotCounted.AFTER_END


def _refuse_too_much(subscription: Subscription, use: Use, waiting: dict[str, int]) -> None:
    """Refuse what would make the next invoice more than a payment may be."""
    after = {**waiting, use.unit: waiting.get(use.unit, 0) + use.quantity}
    if after[use.unit] > WAITING_MAX:
        raise UsageTooLargeError(
            f"With it {after[use.unit]} {use.unit} would wait for the next invoice, and at most "
            f"{WAITING_MAX} may. Check the unit, and take back what was recorded wrongly."
        )
    prices = {metered["unit"]: int(metered["unit_price"]) for metered in subscription.metered}
    gross = subscription.monthly_fee + sum(
        quantity * prices.get(unit, 0) for unit, quantity in after.items()
    )
    if gross > MONTH_MAX:
        raise UsageTooLargeError(
            f"With it the month would come to {gross} minor units, and a payment carries at most "
            f"{MONTH_MAX}. Check the unit, and take back what was recorded wrongly."
        )
