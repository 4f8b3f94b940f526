"""The Order Management Subsystem (Diagrams 1, 2 and 3): customers, vehicles, orders, partners.

Each arrow that ends at Order Management is a function of one of its modules. Those caused by a
payment run in the payment's transaction (`within`). Partners are called immediately and, if that
fails, again in a job.

Rules a change must keep: a vehicle has at most one owner, enforced by the database (decision 20);
only a decline or desistimiento takes a vehicle from a customer (decision 19); no payment is changed
here: a refund is a job for the layer above.
"""

from collections.abc import Callable
from uuid import UUID

import msgspec

from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customers
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.orders import Orders
from caas.billing_database.tables import BillingDatabase
from caas.billing_database.vehicles import (
    Model,
    NewVehicle,
    Vehicle,
    Vehicles,
)
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.transport_system import TransportSystem
from caas.jobs import JobQueue
from caas.notifications import Notifications
from caas.order_management.factory_orders import FactoryOrders
from caas.order_management.fulfilment import REGISTER_VEHICLE, SCHEDULE_DELIVERY, Fulfilment
from caas.order_management.held_deposits import DepositOnForfeiture, Forfeiture, HeldDeposits
from caas.order_management.order_tables import OrderTables
from caas.order_management.ordering import Ordering, UnsafeVehicleKeyError
from caas.order_management.partner_events import PartnerEvents
from caas.order_management.reservation import PLACE_FACTORY_ORDER, Reservation
from caas.order_management.withdrawal import Withdrawal
from caas.rules.money import Money
from caas.rules.time_scale import TimeScale
from caas.rules.vehicle_signatures import has_low_order

__all__ = ["DepositOnForfeiture", "OrderManagement", "OrderPartners", "OrderTerms"]


class OrderPartners(msgspec.Struct, frozen=True, kw_only=True):
    """The external systems of an order."""

    factory: Factory
    admin_registration: AdminRegistration
    transport_system: TransportSystem


class OrderTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Terms of vehicle sales; `access_url` builds the link of an access token.

    `reservation_deposit_on_forfeiture` is the policy of decision 21.
    """

    time_scale: TimeScale
    access_url: Callable[[str], str]
    reservation_deposit_on_forfeiture: DepositOnForfeiture = DepositOnForfeiture.HOLD


class OrderManagement:
    """Order Management as the layers above use it: its parts and its queries."""

    def __init__(
        self,
        *,
        tables: BillingDatabase,
        partners: OrderPartners,
        notifications: Notifications,
        jobs: JobQueue,
        terms: OrderTerms,
    ) -> None:
        """Use these partners."""
        self.customers = Customers(tables.database)
        self.vehicles = Vehicles(tables.database)
        self.orders = Orders(tables.database)
        self._tables = OrderTables(
            billing=tables,
            customers=self.customers,
            vehicles=self.vehicles,
            orders=self.orders,
            notifications=notifications,
            queue=jobs,
            time_scale=terms.time_scale,
        )
        self.ordering = Ordering(self._tables)
        self.reservation = Reservation(self._tables, access_url=terms.access_url)
        self.factory_orders = FactoryOrders(
            self._tables, factory=partners.factory, reservation=self.reservation
        )
        self.fulfilment = Fulfilment(
            self._tables,
            admin_registration=partners.admin_registration,
            transport_system=partners.transport_system,
        )
        self.forfeiture = Forfeiture(
            self._tables,
            reservation_deposit_on_forfeiture=terms.reservation_deposit_on_forfeiture,
        )
        self.held_deposits = HeldDeposits(self._tables)
        self.partner_events = PartnerEvents(self._tables, reservation=self.reservation)
        self.withdrawal = Withdrawal(self._tables)

    def register(self, jobs: JobQueue) -> None:
        """Register the job handlers of orders."""
        jobs.register(PLACE_FACTORY_ORDER, self.factory_orders.due, safety_net=True)
        jobs.register(REGISTER_VEHICLE, self.fulfilment.registration_due, safety_net=True)
        jobs.register(SCHEDULE_DELIVERY, self.fulfilment.delivery_due, safety_net=True)

    async def put_model(self, model: str, price: Money) -> Model:
        """Set the price of a model that is built to order; it applies to new orders."""
        refuse_identifying(model)
        return await self.vehicles.put_model(model, price)

    async def put_vehicle(
        self,
        *,
        vin: str,
        model: str,
        price: Money,
        public_key: bytes | None = None,
        finished: bool = False,
    ) -> Vehicle:
        """Add a vehicle to stock, or update a known one; `finished` skips the factory.

        Raises:
            VehicleDiffersError: it is stored with another model or another public key.
            UnsafeVehicleKeyError: anyone can sign for the public key.
        """
        refuse_identifying(model)
        if public_key is not None and has_low_order(public_key):
            raise UnsafeVehicleKeyError
        return await self.ordering.put_vehicle(
            NewVehicle(vin=vin, model=model, price=price, public_key=public_key, finished=finished)
        )

    async def dealership_of(self, order_id: UUID, *, within: Connection) -> str | None:
        """Return the dealership that sold an order; None if the order does not exist."""
        order = await self.orders.locked(order_id, within=within)
        return None if order is None else order.dealership
