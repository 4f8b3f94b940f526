"""Activates and deactivates subscriptions in vehicles (Diagram 6; Diagram 8, 4a and 4b).

A subscription has a term of its entitlement. When it ends, the vehicle receives the desired state
that its remaining terms require.

Rules a change must keep: a command is recorded in the commit that requires it and sent afterwards;
the activating acknowledgement is stored as verified evidence, which the database requires of an
active subscription; ending a subscription ends its pending activation.
"""

import base64
from uuid import UUID

from caas.billing_database.connection import Connection
from caas.billing_database.ota_commands import CommandAnswer
from caas.billing_database.subscriptions import Subscription, SubscriptionRows
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.transitions import Evidence
from caas.notifications import Notifications
from caas.ota_activation_engine import ACTIVATE, OtaActivationEngine
from caas.rules.subscription_states import SubscriptionEvent, SubscriptionState
from caas.rules.vehicle_signatures import ActivationResult


class SubscriptionDelivery:
    """Sends commands for subscriptions and applies their results."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        ota_activation_engine: OtaActivationEngine,
        notifications: Notifications,
    ) -> None:
        """Use this engine and these notifications."""
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
        """Record the desired state without this subscription.

        `send_command` sends it after the commit.
        """
        await self._rows.jobs_done(ACTIVATE, subscription.id, within=within)
        await self._ota.order_desired_state(
            vin=subscription.vin, service=subscription.service, within=within
        )

    async def send_command(self, subscription: Subscription) -> None:
        """Send the recorded command."""
        await self._ota.send_desired_state(vin=subscription.vin, service=subscription.service)

    async def activation_succeeded(
        self, subscription_id: UUID, evidence: Evidence
    ) -> ActivationResult:
        """Activate the subscription on verified evidence, unless it has ended."""

        async def become_active(connection: Connection) -> ActivationResult:
            subscription = await self._rows.locked(subscription_id, within=connection)
            if subscription.state is not SubscriptionState.ACTIVATING:
                is_active = subscription.state is SubscriptionState.ACTIVE
                return ActivationResult.ALREADY if is_active else ActivationResult.LATE
            answer = _answer(subscription_id, evidence)
            evidence_id = await self._answers.record(answer, within=connection)
            assert evidence_id is not None, "the activating evidence is new"
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
        """End the activation, and send the desired state again (decision 16)."""

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
        """Notify the customer about a subscription, once per occasion."""
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


def _answer(subscription_id: UUID, evidence: Evidence) -> CommandAnswer:
    assert evidence.signature is not None, "verified evidence is signed"
    assert evidence.command_id is not None, "verified evidence refers to a command"
    assert evidence.epoch is not None, "a command has an epoch"
    return CommandAnswer(
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
