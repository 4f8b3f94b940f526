"""The Order Management Subsystem (Diagrams 1, 2 and 3): customers, vehicles, orders, partners.

The functions are the arrows that end at Order Management; `OrderManagement` gathers them from the
modules beside this one. Those a payment causes run in the payment's own transaction (`within`);
those a partner causes are asked at once and, when that fails, durably later.

Rules a change must keep: one vehicle, one owner, refused by the database itself (decision 20); only
a decline or desistimiento takes a vehicle from a customer (decision 19); nothing here moves a
payment, money is given back through a callable of the floor above.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from caas.billing_database.books import Books
from caas.billing_database.connection import Connection
from caas.billing_database.customers import Customer, Customers
from caas.billing_database.free_text import refuse_identifying
from caas.billing_database.orders import Order, OrderMoved, Orders
from caas.billing_database.vehicles import (
    Assignment,
    NewVehicle,
    Vehicle,
    VehicleMoved,
    Vehicles,
)
from caas.external_systems.admin_registration import AdminRegistration
from caas.external_systems.factory import Factory
from caas.external_systems.transport_system import TransportSystem
from caas.open_work import OpenWork
from caas.order_management.factory_orders import FactoryOrders
from caas.order_management.giving_back import GIVE_BACK, GivingBack, Refund
from caas.order_management.handing_over import REGISTER_VEHICLE, SCHEDULE_DELIVERY, HandingOver
from caas.order_management.held_deposits import HeldDeposits
from caas.order_management.loss import DepositOnLoss, Loss
from caas.order_management.order_books import Alert, OrderBooks, Tell
from caas.order_management.partner_news import PartnerNews
from caas.order_management.reservation import PLACE_FACTORY_ORDER, Reservation
from caas.order_management.sale import Sale, UnsafeVehicleKeyError
from caas.order_management.withdrawal import Withdrawal
from caas.rules.money import Money
from caas.rules.order_states import OrderState
from caas.rules.pace import Pace
from caas.rules.vehicle_signatures import has_low_order
from caas.rules.vehicle_states import VehicleState

__all__ = ["DepositOnLoss", "OrderManagement", "OrderPartners", "Upward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPartners:
    """The three external systems that an order needs."""

    factory: Factory
    admin_registration: AdminRegistration
    transport_system: TransportSystem


@dataclass(frozen=True, slots=True, kw_only=True)
class Upward:
    """What Order Management needs of its neighbours and of the floors above.

    `tell` and `alert` are the notifications', `refund` is Payment Processing's, `access_url` makes
    the link of an access token.
    """

    tell: Tell
    alert: Alert
    refund: Refund
    access_url: Callable[[str], str]


class OrderManagement:
    """Order Management as the floors above use it."""

    def __init__(
        self,
        *,
        books: Books,
        partners: OrderPartners,
        upward: Upward,
        pace: Pace,
        reservation_deposit_on_loss: DepositOnLoss = DepositOnLoss.HOLD,
    ) -> None:
        """Sell through these partners; the last argument is the policy of decision 21."""
        self._books = OrderBooks(
            books=books,
            customers=Customers(books.database),
            vehicles=Vehicles(books.database),
            orders=Orders(books.database),
            tell=upward.tell,
            alert=upward.alert,
            pace=pace,
        )
        self._giving_back = GivingBack(self._books, refund=upward.refund)
        self._reservation = Reservation(self._books, access_url=upward.access_url)
        self._factory_orders = FactoryOrders(
            self._books,
            factory=partners.factory,
            reservation=self._reservation,
            giving_back=self._giving_back,
        )
        self._handing_over = HandingOver(
            self._books,
            admin_registration=partners.admin_registration,
            transport_system=partners.transport_system,
        )
        self._loss = Loss(
            self._books,
            giving_back=self._giving_back,
            reservation_deposit_on_loss=reservation_deposit_on_loss,
        )
        self._gather()

    def _gather(self) -> None:
        """Offer the arrows of all parts in one place, under the names the diagrams give them."""
        sale = Sale(self._books)
        self.create_customer = sale.create_customer
        self.open_access = sale.open_access
        self.create_order = sale.create_order
        self._put_vehicle = sale.put_vehicle
        # Diagram 2
        self.check_reservation_due = self._reservation.check_due
        self.mark_vehicle_reserved = self._reservation.mark_vehicle_reserved
        self.payment_failed = self._reservation.payment_failed
        self.place_factory_order = self._factory_orders.place
        # Diagram 3
        self.check_final_due = self._handing_over.check_due
        self.lacking_of_buyer = self._handing_over.lacking_of_buyer
        self.mark_fully_paid = self._handing_over.mark_fully_paid
        self.register_vehicle = self._handing_over.register_vehicle
        self.schedule_delivery = self._handing_over.schedule_delivery
        self.mark_payment_failed = self._loss.mark_payment_failed
        self.mark_vehicle_sin_asignar = self._books.mark_vehicle_sin_asignar
        self.add_to_stock_inventory = self._books.add_to_stock_inventory
        self.held_deposits = HeldDeposits(self._books, giving_back=self._giving_back)
        # What partners and customers tell by themselves
        news = PartnerNews(self._books, reservation=self._reservation)
        self.vehicle_ready = news.vehicle_ready
        self.delivery_completed = news.delivery_completed
        withdrawal = Withdrawal(self._books, giving_back=self._giving_back)
        self.withdraw = withdrawal.withdraw
        self.may_withdraw = withdrawal.may_withdraw
        self.withdrawal_ends = withdrawal.withdrawal_ends
        self.vehicle_returned = withdrawal.vehicle_returned
        self.awaits_return = withdrawal.awaits_return

    def register(self, open_work: OpenWork) -> None:
        """Take the work that orders leave for later."""
        open_work.register(PLACE_FACTORY_ORDER, self._factory_orders.due, safety_net=True)
        open_work.register(REGISTER_VEHICLE, self._handing_over.registration_due, safety_net=True)
        open_work.register(SCHEDULE_DELIVERY, self._handing_over.delivery_due, safety_net=True)
        open_work.register(GIVE_BACK, self._giving_back.due, safety_net=True)

    async def customer(self, customer_id: UUID) -> Customer:
        """Return a customer.

        Raises:
            CustomerNotFoundError: no customer has this id.
        """
        return await self._books.customers.get(customer_id)

    async def put_model(self, model: str, price: Money) -> None:
        """Say what a model costs from now on, when it has to be built."""
        await self._books.vehicles.put_model(model, price)

    async def put_vehicle(
        self,
        *,
        vin: str,
        model: str,
        price: Money,
        public_key: bytes | None = None,
        finished: bool = False,
    ) -> Vehicle:
        """Put a vehicle into stock, or tell more of a known one; `finished` skips the factory.

        Raises:
            VehicleDiffersError: it is known as another model, or with another public key.
            UnsafeVehicleKeyError: anybody can sign with the public key.
        """
        refuse_identifying(model)
        if public_key is not None and has_low_order(public_key):
            raise UnsafeVehicleKeyError
        return await self._put_vehicle(
            NewVehicle(vin=vin, model=model, price=price, public_key=public_key, finished=finished)
        )

    async def vehicle(self, vin: str) -> Vehicle:
        """Return a vehicle.

        Raises:
            VehicleNotFoundError: no vehicle has this VIN.
        """
        return await self._books.vehicles.get(vin)

    async def vehicles(
        self,
        *,
        state: VehicleState | None = None,
        model: str | None = None,
        after: str | None = None,
    ) -> list[Vehicle]:
        """Return vehicles by VIN, a page at a time; `after` is the last VIN seen."""
        return await self._books.vehicles.listed(state=state, model=model, after=after)

    async def vehicle_history(self, vin: str) -> list[VehicleMoved]:
        """Return every move of a vehicle, in order."""
        return await self._books.vehicles.history(vin)

    async def assignments(
        self, *, vin: str | None = None, customer: UUID | None = None, active_only: bool = True
    ) -> list[Assignment]:
        """Return who has or had a vehicle, or which vehicles a customer has or had."""
        return await self._books.vehicles.assignments(
            vin=vin, customer=customer, active_only=active_only
        )

    async def dealership_of(self, order_id: UUID, *, within: Connection) -> str | None:
        """Return who sold an order, None when there is no such order."""
        order = await self._books.orders.locked(order_id, within=within)
        return None if order is None else order.dealership

    async def order(self, order_id: UUID) -> Order:
        """Return an order.

        Raises:
            OrderNotFoundError: no order has this id.
        """
        return await self._books.orders.get(order_id)

    async def orders(
        self,
        *,
        customer: UUID | None = None,
        dealership: str | None = None,
        state: OrderState | None = None,
        before: UUID | None = None,
    ) -> list[Order]:
        """Return orders, newest first, a page at a time; `before` is the last id seen."""
        return await self._books.orders.listed(
            customer=customer, dealership=dealership, state=state, before=before
        )

    async def order_timeline(self, order_id: UUID) -> list[OrderMoved]:
        """Return every move of an order, in order."""
        return await self._books.orders.timeline(order_id)
