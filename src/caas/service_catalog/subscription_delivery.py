"""A subscription and its vehicle (Diagram 6, with Diagram 8's arrows 4a and 4b).

Active by the vehicle's signed word, switched off when the subscription ends. What a vehicle
applied too late is switched off again, and nobody is charged for it.

Rules a change must keep: a command is recorded in the commit that makes it necessary and sent
after it; the acknowledgement that activates is stored as verified evidence, which the database
demands of an active subscription; ending a subscription ends its unanswered activation.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.moves import Evidence
from caas.billing_database.ota_commands import VehicleAnswer
from caas.billing_database.subscriptions import Subscription, SubscriptionRows
from caas.rules.subscription_states import SubscriptionEvent, SubscriptionState

ACTIVATE: Final = "activate"
"""The open work of an activation that no vehicle has answered yet."""

PURPOSE: Final = "subscription"

Tell = Callable[..., Awaitable[bool]]
"""`Notifications.tell`."""

Alert = Callable[[UUID, str], Awaitable[object]]
"""Tell operations of a service that is delivered and not paid for."""


class VehicleCommands(Protocol):
    """The OTA Activation Engine, as the catalog needs it."""

    async def order_activation(
        self, subject: UUID, *, vin: str, service: str, purpose: str, within: Connection
    ) -> None:
        """Record an activation without end in the caller's transaction."""

    async def order_switching_off(
        self, subject: UUID, *, vin: str, service: str, purpose: str, within: Connection
    ) -> None:
        """Record a deactivation in the caller's transaction."""

    async def trigger_activation(self, subject: UUID) -> None:
        """Send the recorded activation."""

    async def deactivate(self, subject: UUID) -> None:
        """Send the recorded deactivation."""


class SubscriptionDelivery:
    """Commands for subscriptions, and what their vehicles say."""

    def __init__(
        self, *, books: Books, ota_activation_engine: VehicleCommands, tell: Tell, alert: Alert
    ) -> None:
        """Reach vehicles and people through what is given."""
        self._database = books.database
        self._ota = ota_activation_engine
        self._tell = tell
        self._alert = alert
        self._rows = SubscriptionRows(books.database)
        self._answers = books.commands

    async def order_activation(self, subscription: Subscription, *, within: Connection) -> None:
        """Record the activation; `activate_service` sends it after the commit."""
        await self._ota.order_activation(
            subscription.id,
            vin=subscription.vin,
            service=subscription.service,
            purpose=PURPOSE,
            within=within,
        )

    async def order_deactivation(self, subscription: Subscription, *, within: Connection) -> None:
        """Record the deactivation; `deactivate_service` sends it after the commit."""
        await self._rows.work_done(ACTIVATE, subscription.id, within=within)
        await self._ota.order_switching_off(
            subscription.id,
            vin=subscription.vin,
            service=subscription.service,
            purpose=PURPOSE,
            within=within,
        )

    async def activate_service(self, subscription_id: UUID) -> None:
        """Send the activation that was ordered."""
        await self._ota.trigger_activation(subscription_id)

    async def deactivate_service(self, subscription_id: UUID) -> None:
        """Send the deactivation that was ordered."""
        await self._ota.deactivate(subscription_id)

    async def activation_succeeded(self, subscription_id: UUID, evidence: Evidence) -> bool:
        """Become active by the vehicle's verified word; False when that came too late."""

        async def become_active(connection: Connection) -> bool:
            subscription = await self._rows.locked(subscription_id, within=connection)
            if subscription.state is not SubscriptionState.ACTIVATING:
                return subscription.state is SubscriptionState.ACTIVE
            answer = _answer(subscription_id, evidence)
            evidence_id = await self._answers.record(answer, within=connection)
            assert evidence_id is not None, "what activates was not heard before"
            event = SubscriptionEvent.SERVICE_ACTIVE
            active = await self._rows.move(
                subscription, event, within=connection, evidence_id=evidence_id
            )
            assert active is not None, "an activating subscription can become active"
            await self._rows.work_done(ACTIVATE, subscription_id, within=connection)
            await self.tell_customer("subscription_active", active, within=connection)
            return True

        return await self._database.in_transaction(become_active)

    async def activation_failed(self, subscription_id: UUID, reason: str) -> None:
        """Give up, and fence off a vehicle that may still apply it late (decision 16)."""

        async def give_up(connection: Connection) -> bool:
            subscription = await self._rows.locked(subscription_id, within=connection)
            event = SubscriptionEvent.ACTIVATION_FAILED
            moved = await self._rows.move(subscription, event, within=connection)
            if moved is None:
                return False
            await self.order_deactivation(moved, within=connection)
            template = "subscription_not_activated"
            await self.tell_customer(template, moved, within=connection, reason=reason)
            return True

        if await self._database.in_transaction(give_up):
            await self._ota.deactivate(subscription_id)

    async def deactivated(self, subscription_id: UUID, switched_off: bool) -> None:  # noqa: FBT001  # as the engine reports it
        """Hear that the service is off, or that the vehicle keeps it without anybody paying."""
        if switched_off:
            await self._rows.deactivated(subscription_id)
            return
        await self._alert(
            subscription_id,
            "The vehicle kept a service whose subscription has ended; it refused or missed the "
            "deactivation.",
        )

    async def tell_customer(
        self,
        template: str,
        subscription: Subscription,
        *,
        within: Connection,
        about: UUID | None = None,
        **facts: object,
    ) -> None:
        """Tell the customer something of a subscription, once for whatever it is about."""
        await self._tell(
            audience="customer",
            recipient=subscription.customer,
            template=template,
            facts={
                "service": subscription.service,
                "vin": subscription.vin,
                "amount": subscription.monthly_fee,
                "currency": subscription.currency,
                **facts,
            },
            subject=about or subscription.id,
            within=within,
        )


def _answer(subscription_id: UUID, evidence: Evidence) -> VehicleAnswer:
    assert evidence.signature is not None, "verified evidence is signed"
    return VehicleAnswer(
        subject=subscription_id,
        command_id=evidence.command_id,
        epoch=evidence.epoch,
        vin=evidence.vin or "",
        service=evidence.service or "",
        status=evidence.status,
        status_reason=evidence.status_reason,
        at=evidence.at or "",
        signature=base64.b64decode(evidence.signature),
    )
