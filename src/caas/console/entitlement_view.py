"""View model of a service in a vehicle: active period, extensions, purchase options.

Consecutive purchases appear as one service with one end date.

Rules a change must keep: the view derives from terms, never from orders; terms of other customers
are neither named nor linked; the page rejects a purchase for the same reasons as the database.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

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
from caas.rules.agreed_price import PriceChangedError
from caas.rules.payment_types import PaymentType
from caas.service_catalog import REFUSE
from caas.service_catalog.subscriptions import AlreadySubscribedError

IN_THE_WAY: Final[tuple[type[RefusedError], ...]] = (
    PurchasePendingError,
    AlreadyRunningError,
    AlreadySubscribedError,
    OrderUsedError,
    LivePaymentError,
    PriceChangedError,
)
"""Errors that the page of the service explains better than an error page."""
WAITING: Final = frozenset({"pending", "activating"})
GRANTED: Final = frozenset({"running", "scheduled"})


class Standing(StrEnum):
    """What a customer can do about a service in a vehicle now."""

    FREE = "free"
    EXTENDS = "extends"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"
    REFUSED = "refused"


class EntitlementView(msgspec.Struct, frozen=True):
    """A service in a vehicle as `customer` sees it; `terms` are its current and future terms.

    `at_gateway` is the payment of the customer's pending purchase while it can be continued, `days`
    the shortest duration on sale.
    """

    vin: str
    service: str
    name: str
    customer: UUID
    terms: list[Term] = msgspec.field(default_factory=list)
    repeat_purchase: str = ""
    at_gateway: UUID | None = None
    days: int | None = None

    @property
    def granted(self) -> list[Term]:
        """The running and scheduled terms."""
        return [term for term in self.terms if term.status in GRANTED]

    @property
    def pending(self) -> Term | None:
        """The purchase in progress, by any customer."""
        return next((term for term in self.terms if term.status in WAITING), None)

    @property
    def subscription(self) -> Term | None:
        """The open-ended subscription, running or scheduled."""
        return next((term for term in self.granted if term.ends_at is None), None)

    @property
    def until(self) -> datetime | None:
        """The end of the paid period, or None."""
        return max((term.ends_at for term in self.granted if term.ends_at), default=None)

    @property
    def begins(self) -> datetime | None:
        """The start of the period; None if it is running or nothing was bought."""
        if not self.granted or any(term.status == "running" for term in self.granted):
            return None
        return min(term.starts_at for term in self.granted if term.starts_at)

    @property
    def standing(self) -> Standing:
        """What the customer can do about it."""
        if self.pending is not None:
            return Standing.PENDING
        if self.subscription is not None:
            return Standing.SUBSCRIBED
        if self.until is None:
            return Standing.FREE
        return Standing.REFUSED if self.repeat_purchase == REFUSE else Standing.EXTENDS

    @property
    def slug(self) -> str:
        """The key of the badge's text."""
        if self.begins:
            return "scheduled"
        if self.granted:
            return "active"
        return "activating" if self.pending and self.pending.status == "activating" else "pending"

    @property
    def kind(self) -> str:
        """The colour of the badge."""
        return {"active": "good"}.get(self.slug, "busy")

    @property
    def path(self) -> str:
        """The path of the customer's page."""
        subscription = self.subscription
        if subscription and subscription.customer == self.customer and self.until is None:
            return f"/subscriptions/{subscription.subscription}"
        return f"/services/{self.service}?vin={self.vin}"

    def path_of(self, term: Term) -> str | None:
        """Return the path of a term's page; None if the term is another customer's."""
        if term.customer != self.customer:
            return None
        if term.subscription:
            return f"/subscriptions/{term.subscription}"
        return f"/service-orders/{term.service_order}"

    def extended(self, days: int) -> datetime | None:
        """Return the end date after an extension by `days`; None if nothing is running."""
        return self.until + timedelta(days=days) if self.until else None


Entitlements = dict[str, EntitlementView]


async def entitlements_in(
    console: Console, vin: str, *, customer: UUID, language: str
) -> Entitlements:
    """Return the services sold for, or active in, a vehicle, as a customer sees them."""
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
    """Return the payment of a pending purchase that the customer can continue at the gateway."""
    for term in terms:
        sold, paid_by = term.service_order, PaymentType.SERVICE
        if term.subscription is not None:
            sold, paid_by = term.subscription, PaymentType.SUBSCRIPTION
        if term.status == "pending" and sold and term.customer == customer:
            paying = last_of(await payments_of(console, sold), paid_by)
            if paying is not None and paying.situation is Situation.AT_GATEWAY:
                return paying.payment.id
    return None


class VehicleService(msgspec.Struct, frozen=True):
    """A service of a vehicle as staff see it: what was sold, target state, reported state."""

    name: str
    state: SyncState
    terms: list[Term]


async def services_of_vehicle(
    console: Console, vin: str, *, language: str, customer: UUID | None = None
) -> list[VehicleService]:
    """Return every service sold for a vehicle, or only those sold to one customer."""
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
