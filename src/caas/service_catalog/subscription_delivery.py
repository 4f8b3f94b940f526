"""A subscription and its vehicle (Diagram 6, with Diagram 8's arrows 4a and 4b).

Active by the vehicle's signed word. A subscription has a term of its entitlement, which follows it
in the database; when it ends the vehicle is told what its other terms say, mostly nothing.

Rules a change must keep: a command is recorded in the commit that makes it necessary and sent
after it; the acknowledgement that activates is stored as verified evidence, which the database
demands of an active subscription; ending a subscription ends its unanswered activation.
"""

import base64
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.ota_commands import VehicleAnswer
from caas.billing_database.subscriptions import Subscription, SubscriptionRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.notifications import Notifications
from caas.ota_activation_engine import ACTIVATE, OtaActivationEngine
from caas.rules.activation import ActivationResult
from caas.rules.subscription_states import SubscriptionEvent, SubscriptionState


class SubscriptionDelivery:
    """Commands for subscriptions, and what their vehicles say."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        ota_activation_engine: OtaActivationEngine,
        notifications: Notifications,
    ) -> None:
        """Reach vehicles and people through what is given."""
        self._database = tables.database
        self._ota = ota_activation_engine
        self._notifications = notifications
        self._rows = SubscriptionRows(tables.database)
        self._answers = tables.commands

    async def order_activation(self, subscription: Subscription, *, within: Connection) -> None:
        """Record the activation; `send_command` sends it after the commit."""
        await self._ota.order_activation(
            subscription.id, vin=subscription.vin, service=subscription.service, within=within
        )

    async def order_deactivation(self, subscription: Subscription, *, within: Connection) -> None:
        """Record what the vehicle should have on without this subscription.

        `send_command` sends it after the commit.
        """
        await self._rows.jobs_done(ACTIVATE, subscription.id, within=within)
        await self._ota.order_desired_state(
            vin=subscription.vin, service=subscription.service, within=within
        )

    async def send_command(self, subscription: Subscription) -> None:
        """Send what was ordered."""
        await self._ota.send_desired_state(vin=subscription.vin, service=subscription.service)

    async def activation_succeeded(
        self, subscription_id: UUID, evidence: Evidence
    ) -> ActivationResult:
        """Become active by the vehicle's verified word, unless that came too late."""

        async def become_active(connection: Connection) -> ActivationResult:
            subscription = await self._rows.locked(subscription_id, within=connection)
            if subscription.state is not SubscriptionState.ACTIVATING:
                is_active = subscription.state is SubscriptionState.ACTIVE
                return ActivationResult.ALREADY if is_active else ActivationResult.LATE
            answer = _answer(subscription_id, evidence)
            evidence_id = await self._answers.record(answer, within=connection)
            assert evidence_id is not None, "what activates was not heard before"
            event = SubscriptionEvent.SERVICE_ACTIVE
            active = await self._rows.transition(
                subscription, event, within=connection, evidence_id=evidence_id
            )
            assert active is not None, "an activating subscription can become active"
            await self._rows.jobs_done(ACTIVATE, subscription_id, within=connection)
            await self.notify_customer("subscription_active", active, within=connection)
            return ActivationResult.COMMITTED

        return await self._database.in_transaction(become_active)

    async def activation_failed(self, subscription_id: UUID, reason: str) -> None:
        """Give up, and fence off a vehicle that may still apply it late (decision 16)."""

        async def give_up(connection: Connection) -> Subscription | None:
            subscription = await self._rows.locked(subscription_id, within=connection)
            event = SubscriptionEvent.ACTIVATION_FAILED
            transitioned = await self._rows.transition(subscription, event, within=connection)
            if transitioned is None:
                return None
            await self.order_deactivation(transitioned, within=connection)
            template = "subscription_not_activated"
            await self.notify_customer(template, transitioned, within=connection, reason=reason)
            return transitioned

        ended = await self._database.in_transaction(give_up)
        if ended is not None:
            await self.send_command(ended)

    async def notify_customer(
        self,
        template: str,
        subscription: Subscription,
        *,
        within: Connection,
        about: UUID | None = None,
        **facts: object,
    ) -> None:
        """Tell the customer something of a subscription, once for whatever it is about."""
        await self._notifications.notify(
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
    assert evidence.command_id is not None, "verified evidence is of a command"
    assert evidence.epoch is not None, "a command has an epoch"
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
