"""Subscriptions of the Service Catalog (Diagram 6): subscribe, continue, cancel, end.

A subscription begins when its payment method is verified and its vehicle confirms the activation.
It ends when the customer cancels or a month cannot be charged. The layers above verify and charge,
and report the results here.

Rules a change must keep: nothing is activated before the payment method is verified (decision 27);
whatever ends a subscription orders its deactivation in the same commit; an unknown outcome ends
nothing (decision 25).
"""

from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.identifiers import new_id
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import (
    NewSubscription,
    Subscription,
    SubscriptionRows,
)
from caas.billing_database.tables import BillingDatabase
from caas.errors import ConflictError, RefusedError
from caas.rules.agreed_price import AgreedPrice, check_agreed
from caas.rules.card_numbers import contains_card_number
from caas.rules.subscription_states import SubscriptionEvent, SubscriptionState, next_state
from caas.rules.time_scale import TimeScale
from caas.service_catalog import SUBSCRIPTION, NotSoldLikeThisError, ServiceCatalog
from caas.service_catalog.eligibility import check_buyer, check_eligible, prices_of
from caas.service_catalog.subscription_delivery import SubscriptionDelivery

VERIFY_PAYMENT_METHOD: Final = "verify_payment_method"
SAFETY_NET_SECONDS: Final = 75.0
BY_CUSTOMER: Final = "customer"
BY_WITHDRAWAL: Final = "withdrawal"
ENDED_WORDS: Final = {BY_CUSTOMER: "subscription_ended", BY_WITHDRAWAL: "subscription_withdrawn"}
ENDING: Final = {
    BY_CUSTOMER: SubscriptionEvent.CUSTOMER_ENDS_SUBSCRIPTION,
    BY_WITHDRAWAL: SubscriptionEvent.CUSTOMER_WITHDRAWS,
}
WITHDRAWAL_PERIOD_SECONDS: Final = 14 * 86400.0
CREDIT_WITHDRAWN: Final = "credit_withdrawn_subscription"
PAYMENT_FAILED: Final = "payment failed"


class WithdrawnSubscription(StrEnum):
    """What a subscription costs whose customer withdraws from it (2011/83/EU, articles 14, 15)."""

    FREE = "free"
    PROPORTIONAL = "proportional"


class AlreadySubscribedError(ConflictError):
    """The vehicle has a live subscription to this service already."""

    code = "already_subscribed"


class InvalidPaymentMethodError(RefusedError):
    """A subscription needs the gateway's token of a payment method, and nothing else."""

    code = "invalid_payment_method"


class SubscriptionEndedError(ConflictError):
    """The subscription is not running, so that nothing will be charged for it any more."""

    code = "subscription_ended"


class Subscriptions:
    """Subscriptions of the Service Catalog (Diagram 6)."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        service_catalog: ServiceCatalog,
        delivery: SubscriptionDelivery,
        time_scale: TimeScale,
        withdrawn: WithdrawnSubscription = WithdrawnSubscription.FREE,
    ) -> None:
        """Sell services of the catalogue and deliver them through `delivery`."""
        self._withdrawn = withdrawn
        self._tables = tables
        self._catalog = service_catalog
        self._delivery = delivery
        self._time_scale = time_scale
        self._rows = SubscriptionRows(tables.database)
        self._customers = Customers(tables.database)

    async def subscribe(  # noqa: PLR0913  # a subscription, by name
        self,
        *,
        customer: UUID,
        vin: str,
        service: str,
        payment_method: str | None,
        gateway: str,
        by_fleet: bool = False,
        request_key: bytes | None = None,
        shown: AgreedPrice | None = None,
    ) -> Subscription:
        """Record a subscription to a monthly service, and start verifying its payment method.

        Without a payment method the customer enters one on the gateway's page (decision 242). A
        repeated request returns the subscription it created. `shown` are the prices that the
        customer agreed to, if they are known (decision 251).

        Raises:
            PriceChangedError: the prices are not `shown` any more.
            CustomerNotFoundError: no such customer; CustomerErasedError: the customer was erased.
            VehicleNotTheirsError: the vehicle was not delivered to the customer and `by_fleet` is
                not set.
            ServiceNotFoundError: no service has this code.
            NotSoldLikeThisError: the service is not sold as a subscription, or not on offer.
            BillingDetailsRequiredError: the buyer's details for the invoices are incomplete.
            InvalidPaymentMethodError: the token is blank, or is a card number.
            AlreadySubscribedError: the vehicle already has this subscription.
            PurchasePendingError: a purchase of the service for the vehicle is in progress.
        """
        if payment_method is not None and _is_no_token(payment_method):
            raise InvalidPaymentMethodError
        await self._customers.buyer(customer)
        await check_eligible(self._tables.database, customer=customer, vin=vin, by_fleet=by_fleet)
        terms = await self._on_these_terms(
            customer, vin, service, payment_method=payment_method, gateway=gateway
        )
        new = replace(terms, request_key=request_key)
        await check_buyer(self._tables.database, customer=customer, price=new.monthly_fee)

        async def write(connection: Connection) -> UUID:
            return await self._recorded(new, shown, by_fleet=by_fleet, within=connection)

        return await self._rows.get(await self._tables.database.in_transaction(write))

    async def _recorded(
        self, new: NewSubscription, shown: AgreedPrice | None, *, by_fleet: bool, within: Connection
    ) -> UUID:
        """Write a subscription with its reservation; return the id of the one its request made."""
        if await self._rows.add(new, within=within) is None:
            created = await self._rows.of_request(new.request_key, within=within)
            if created is None:
                raise AlreadySubscribedError(vin=new.vin, service=new.service)
            return created.id
        check_agreed(prices_of(new), shown)
        await self._tables.entitlements.reserve(
            vin=new.vin,
            service=new.service,
            customer=new.customer,
            subscription=new.id,
            by_fleet=by_fleet,
            within=within,
        )
        due_in = self._time_scale.seconds(SAFETY_NET_SECONDS)
        await self._tables.jobs.add(VERIFY_PAYMENT_METHOD, new.id, due_in=due_in, within=within)
        return new.id

    async def end_subscription(
        self, subscription_id: UUID, *, with_vehicle: bool = False
    ) -> Subscription:
        """End a subscription at the customer's request; idempotent.

        `with_vehicle`: its customer withdrew from the vehicle. After that, or within the withdrawal
        period, it costs nothing and charges are refunded.

        Raises:
            SubscriptionNotFoundError: there is none with this id.
        """

        async def end(connection: Connection) -> Subscription | None:
            before = await self._rows.locked(subscription_id, within=connection)
            because = await self._because(before, connection, with_vehicle=with_vehicle)
            event = ENDING[because]
            ended = await self._rows.transition(
                before, event, within=connection, cancelled_because=because
            )
            if ended is None:
                return None
            if because == BY_WITHDRAWAL:
                await self._tables.jobs.add(CREDIT_WITHDRAWN, ended.id, within=connection)
            template = ENDED_WORDS[because]
            await self._delivery.notify_customer(template, ended, within=connection)
            if before.state is SubscriptionState.VERIFYING:
                return None
            await self._delivery.order_deactivation(ended, within=connection)
            return ended

        ended = await self._tables.database.in_transaction(end)
        if ended is not None:
            await self._delivery.send_command(ended)
        return await self._rows.get(subscription_id)

    async def withdraws_now(self, subscription_id: UUID) -> bool:
        """Return whether ending a subscription now is a withdrawal, which is free of charge."""

        async def look(connection: Connection) -> bool:
            subscription = await self._rows.get(subscription_id, within=connection)
            return await self._because(subscription, connection) == BY_WITHDRAWAL

        return await self._tables.database.in_transaction(look)

    async def _because(
        self, subscription: Subscription, within: Connection, *, with_vehicle: bool = False
    ) -> str:
        """Return why it ends: by withdrawal (once per service and vehicle) or by the customer."""
        if self._withdrawn is WithdrawnSubscription.PROPORTIONAL:
            return BY_CUSTOMER
        period = self._time_scale.seconds(WITHDRAWAL_PERIOD_SECONDS)
        if with_vehicle or await self._rows.may_withdraw(subscription.id, period, within=within):
            return BY_WITHDRAWAL
        return BY_CUSTOMER

    async def check_payment_method_change(
        self, subscription_id: UUID, payment_method: str | None
    ) -> Subscription:
        """Return a subscription whose payment method may be changed to this one.

        Raises:
            SubscriptionNotFoundError: there is none with this id.
            SubscriptionEndedError: it is not running.
            InvalidPaymentMethodError: it is not a token.
        """
        if payment_method is not None and _is_no_token(payment_method):
            raise InvalidPaymentMethodError
        subscription = await self._rows.get(subscription_id)
        if next_state(subscription.state, SubscriptionEvent.PAYMENT_METHOD_CHANGED) is None:
            raise SubscriptionEndedError(subscription=str(subscription_id))
        return subscription

    async def check_open_for(
        self, event: SubscriptionEvent, subscription_id: UUID, *, within: Connection
    ) -> None:
        """Lock the subscription, and check that the event can still happen to it.

        Raises:
            SubscriptionEndedError: it cannot.
        """
        locked = await self._rows.locked(subscription_id, within=within)
        if next_state(locked.state, event) is None:
            raise SubscriptionEndedError(subscription=str(subscription_id))

    async def subscription(
        self, subscription_id: UUID, *, within: Connection | None = None
    ) -> Subscription:
        """Return a subscription.

        Raises:
            SubscriptionNotFoundError: there is none with this id.
        """
        return await self._rows.get(subscription_id, within=within)

    async def find(
        self, subscription_id: UUID, *, within: Connection | None = None
    ) -> Subscription | None:
        """Return a subscription, or None."""
        return await self._rows.find(subscription_id, within=within)

    async def subscriptions(
        self,
        *,
        customer: UUID | None = None,
        vin: str | None = None,
        state: SubscriptionState | None = None,
        before: UUID | None = None,
    ) -> list[Subscription]:
        """Return subscriptions, newest first."""
        return await self._rows.listed(customer=customer, vin=vin, state=state, before=before)

    async def events(self, subscription_id: UUID) -> list[dict[str, Any]]:
        """Return all events of a subscription, in order."""
        return await self._rows.events(subscription_id)

    async def payment_method_verified(
        self, verifying: Payment, token: str | None, *, within: Connection
    ) -> None:
        """Order the activation, or charge this method from now on; an ended one stays ended.

        `verifying` is the payment that held the funds: the method is at its gateway. Without a
        token no month could be charged, so nothing is activated.
        """
        subscription_id, payment_id = verifying.subject, verifying.id
        before = await self._rows.locked(subscription_id, within=within)
        if before.state is SubscriptionState.VERIFYING and token is None:
            await self._refuse(before, payment_id, within)
        elif before.state is SubscriptionState.VERIFYING:
            event = SubscriptionEvent.PAYMENT_METHOD_VERIFIED
            activating = await self._rows.transition(
                before, event, within=within, payment_id=payment_id, payment_method=token,
                gateway=verifying.gateway,
            )  # fmt: skip
            assert activating is not None, "what is verified can be activated"
            await self._delivery.order_activation(activating, within=within)
        elif token is None:
            await self._notify_unchanged(before, payment_id, within)
        else:
            await self._change_payment_method(before, verifying, token, within)

    async def payment_method_refused(
        self, subscription_id: UUID, payment_id: UUID, *, within: Connection
    ) -> None:
        """End a subscription that awaits verification; others keep their payment method."""
        before = await self._rows.locked(subscription_id, within=within)
        if before.state is not SubscriptionState.VERIFYING:
            await self._notify_unchanged(before, payment_id, within)
            return
        await self._refuse(before, payment_id, within)

    async def _refuse(self, before: Subscription, payment_id: UUID, within: Connection) -> None:
        event = SubscriptionEvent.PAYMENT_METHOD_REFUSED
        refused = await self._rows.transition(before, event, within=within, payment_id=payment_id)
        assert refused is not None, "what is being verified can be refused"
        template = "subscription_not_activated"
        await self._delivery.notify_customer(template, refused, within=within)

    async def activate_service(self, subscription_id: UUID) -> None:
        """Send the ordered activation, unless the subscription has ended."""
        subscription = await self._rows.get(subscription_id)
        if subscription.state is SubscriptionState.ACTIVATING:
            await self._delivery.send_command(subscription)

    async def continue_subscription(
        self, subscription_id: UUID, payment_id: UUID, *, within: Connection
    ) -> None:
        """Record that a month was paid; a subscription that ended meanwhile stays ended."""
        event = SubscriptionEvent.CONTINUE_SUBSCRIPTION
        await self._transition_result(subscription_id, event, payment_id, within)

    async def mark_subscription_cancelled(
        self, subscription_id: UUID, payment_id: UUID, *, within: Connection
    ) -> Subscription:
        """Cancel because a month cannot be charged, and order the deactivation."""
        before = await self._rows.locked(subscription_id, within=within)
        event = SubscriptionEvent.MARK_SUBSCRIPTION_CANCELLED
        cancelled = await self._rows.transition(
            before, event, within=within, payment_id=payment_id, cancelled_because=PAYMENT_FAILED
        )
        if cancelled is not None and before.state is SubscriptionState.ACTIVE:
            await self._delivery.order_deactivation(cancelled, within=within)
        return cancelled or before

    async def deactivate_service(self, subscription_id: UUID) -> None:
        """Send the ordered deactivation."""
        await self._delivery.send_command(await self._rows.get(subscription_id))

    async def _change_payment_method(
        self, before: Subscription, verifying: Payment, token: str, within: Connection
    ) -> None:
        event = SubscriptionEvent.PAYMENT_METHOD_CHANGED
        changed = await self._rows.transition(
            before, event, within=within, payment_id=verifying.id, payment_method=token,
            gateway=verifying.gateway,
        )  # fmt: skip
        if changed is not None:
            await self._delivery.notify_customer(
                "payment_method_changed", changed, within=within, about=verifying.id
            )

    async def _notify_unchanged(
        self, subscription: Subscription, payment_id: UUID, within: Connection
    ) -> None:
        if next_state(subscription.state, SubscriptionEvent.PAYMENT_METHOD_CHANGED) is not None:
            await self._delivery.notify_customer(
                "payment_method_not_changed", subscription, within=within, about=payment_id
            )

    async def _transition_result(
        self, subscription_id: UUID, event: SubscriptionEvent, payment_id: UUID, within: Connection
    ) -> Subscription | None:
        before = await self._rows.locked(subscription_id, within=within)
        return await self._rows.transition(before, event, within=within, payment_id=payment_id)

    async def _on_these_terms(
        self, customer: UUID, vin: str, service: str, *, payment_method: str | None, gateway: str
    ) -> NewSubscription:
        offer = await self._catalog.service(service)
        if offer.kind != SUBSCRIPTION or offer.monthly_fee is None or not offer.offered:
            raise NotSoldLikeThisError(f"'{service}' is not sold as a subscription.")
        if len({metered["unit"] for metered in offer.metered}) != len(offer.metered):
            raise NotSoldLikeThisError(f"'{service}' has two prices for one unit.")
        return NewSubscription(
            id=new_id(),
            customer=customer,
            vin=vin,
            service=service,
            currency=offer.currency,
            monthly_fee=offer.monthly_fee,
            metered=offer.metered,
            payment_method=payment_method,
            gateway=gateway,
        )


def _is_no_token(payment_method: str) -> bool:
    return not payment_method.strip() or contains_card_number(payment_method)
