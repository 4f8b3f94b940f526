"""View model of a service in a vehicle: active period, extensions, purchase options.

Consecutive purchases are shown as one service that is active until a day.

Rules a change must keep: the terms decide, and no order; what is somebody else's is neither named
nor linked; what stands in the way of a purchase here is what the database refuses.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from caas.billing_database.entitlements import (
    AlreadyRunningError,
    OrderUsedError,
    PurchasePendingError,
    SyncState,
    Term,
)
from caas.billing_database.services import Service
from caas.console.context import Console
from caas.console.order_view import payments_of
from caas.console.payment_view import Situation, last_of
from caas.errors import RefusedError
from caas.payment_processing.initiation import LivePaymentError
from caas.rules.payment_types import PaymentType
from caas.service_catalog import REFUSE
from caas.service_catalog.subscriptions import AlreadySubscribedError

IN_THE_WAY: Final[tuple[type[RefusedError], ...]] = (
    PurchasePendingError,
    AlreadyRunningError,
    AlreadySubscribedError,
    OrderUsedError,
    LivePaymentError,
)
"""Refusals that a page about the service explains better than any error page."""
WAITING: Final = frozenset({"pending", "activating"})
GRANTED: Final = frozenset({"running", "scheduled"})


class Standing(StrEnum):
    """What a customer can do about a service in a vehicle now."""

    FREE = "free"
    EXTENDS = "extends"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class EntitlementView:
    """A service in a vehicle as pages show it to `customer`; `terms` are what lasts of it.

    `at_gateway` is the payment of the customer's pending purchase while it can be gone on with,
    `days` the shortest duration that the service is sold for.
    """

    vin: str
    service: str
    name: str
    customer: UUID
    terms: list[Term] = field(default_factory=list)
    repeat_purchase: str = ""
    at_gateway: UUID | None = None
    days: int | None = None

    @property
    def granted(self) -> list[Term]:
        """What runs, or will."""
        return [term for term in self.terms if term.status in GRANTED]

    @property
    def pending(self) -> Term | None:
        """The purchase in progress, by any customer."""
        return next((term for term in self.terms if term.status in WAITING), None)

    @property
    def subscription(self) -> Term | None:
        """The subscription that runs without end, or will."""
        return next((term for term in self.granted if term.ends_at is None), None)

    @property
    def until(self) -> datetime | None:
        """Until when it is paid for; None when nothing is."""
        return max((term.ends_at for term in self.granted if term.ends_at), default=None)

    @property
    def begins(self) -> datetime | None:
        """From when it will run; None when it runs, or nothing was bought."""
        if not self.granted or any(term.status == "running" for term in self.granted):
            return None
        return min(term.starts_at for term in self.granted if term.starts_at)

    @property
    def standing(self) -> Standing:
        """What can be done about it."""
        if self.pending is not None:
            return Standing.PENDING
        if self.subscription is not None:
            return Standing.SUBSCRIBED
        if self.until is None:
            return Standing.FREE
        return Standing.REFUSED if self.repeat_purchase == REFUSE else Standing.EXTENDS

    @property
    def slug(self) -> str:
        """The key of the word for the badge."""
        if self.begins:
            return "scheduled"
        if self.granted:
            return "active"
        return "activating" if self.pending and self.pending.status == "activating" else "pending"

    @property
    def kind(self) -> str:
        """Which colour the badge has."""
        return {"active": "good"}.get(self.slug, "busy")

    @property
    def path(self) -> str:
        """The customer's page of it."""
        subscription = self.subscription
        if subscription and subscription.customer == self.customer and self.until is None:
            return f"/subscriptions/{subscription.subscription}"
        return f"/services/{self.service}?vin={self.vin}"

    def path_of(self, term: Term) -> str | None:
        """Return the customer's page of a term; None when it is somebody else's."""
        if term.customer != self.customer:
            return None
        if term.subscription:
            return f"/subscriptions/{term.subscription}"
        return f"/service-orders/{term.service_order}"

    def extended(self, days: int) -> datetime | None:
        """Return until when it runs with so many days more; None when nothing runs now."""
        return self.until + timedelta(days=days) if self.until else None


Entitlements = dict[str, EntitlementView]


async def entitlements_in(
    console: Console, vin: str, *, customer: UUID, language: str
) -> Entitlements:
    """Return, by service, what is offered for a vehicle or lasts in it, as a customer sees it."""
    platform = console.platform
    names = await platform.service_catalog.names(language)
    offered = {one.code: one for one in await platform.service_catalog.services()}
    lasting: dict[str, list[Term]] = {code: [] for code in offered}
    for term in await platform.tables.entitlements.terms(vin):
        if term.status in WAITING | GRANTED:
            lasting.setdefault(term.service, []).append(term)
    return {
        code: EntitlementView(
            vin=vin, service=code, name=names.get(code, code), customer=customer, terms=terms,
            repeat_purchase=offered[code].repeat_purchase if code in offered else "",
            at_gateway=await _at_gateway(console, terms, customer),
            days=_shortest(offered[code]) if code in offered else None,
        )
        for code, terms in lasting.items()
    }  # fmt: skip


def _shortest(service: Service) -> int | None:
    return min((price["duration_days"] for price in service.prices), default=None)


async def _at_gateway(console: Console, terms: list[Term], customer: UUID) -> UUID | None:
    """Return the payment of a pending purchase that waits for its customer at the gateway."""
    for term in terms:
        if term.status == "pending" and term.service_order and term.customer == customer:
            paying = last_of(await payments_of(console, term.service_order), PaymentType.SERVICE)
            if paying is not None and paying.situation is Situation.AT_GATEWAY:
                return paying.payment.id
    return None


@dataclass(frozen=True, slots=True)
class VehicleService:
    """A service of a vehicle as staff see it: what was sold, what should be on, what is."""

    name: str
    state: SyncState
    terms: list[Term]


async def services_of_vehicle(
    console: Console, vin: str, *, language: str, customer: UUID | None = None
) -> list[VehicleService]:
    """Return every service that was sold for a vehicle; to one customer, when there is one."""
    entitlements = console.platform.tables.entitlements
    names = await console.platform.service_catalog.names(language)
    terms = [term for term in await entitlements.terms(vin) if customer in (None, term.customer)]
    states = await entitlements.sync_states(vin)
    found = [
        VehicleService(
            names.get(state.service, state.service), state,
            [term for term in terms if term.service == state.service],
        )
        for state in states
    ]  # fmt: skip
    return [one for one in found if one.terms]
