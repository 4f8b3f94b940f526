"""The services of a vehicle as operations see them: what was sold, what should be on, what is.

A vehicle that lost its memory is sent its desired state again from here.

Rules a change must keep: sending again changes no term and no money; who is not a vehicle of ours
is not there.
"""

from typing import Final

from caas.channels.acting import acted, told
from caas.channels.entitlement_view import services_of_vehicle
from caas.channels.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.channels.rooms import Channels
from caas.channels.sending_once import new_key
from caas.channels.visit import Visit
from caas.errors import NotFoundError, RefusedError
from caas.web.response import Response

CONFIRMED: Final = "yes"


class ConfirmationNeededError(RefusedError):
    """Say that the vehicle is to be sent everything again."""

    code = "confirmation_needed"


async def vehicle(channels: Channels, visit: Visit) -> Response:
    """Show the services of a vehicle: its terms, desired and reported state."""
    vin = await _vin(channels, visit)
    services = await services_of_vehicle(channels, vin, language=visit.language)
    return channels.page(
        visit, "operations/vehicle.html", vin=vin, services=services, key=new_key(),
        after=told(channels, visit),
    )  # fmt: skip


async def synchronize(channels: Channels, visit: Visit) -> Response:
    """Send a vehicle its desired state of every service again."""
    vin = await _vin(channels, visit)

    async def act() -> None:
        if visit.form.get("confirmed") != CONFIRMED:
            raise ConfirmationNeededError
        await channels.rooms.ota_activation_engine.synchronize(vin)

    return await acted(channels, visit, f"/operations/vehicles/{vin}", act)


async def _vin(channels: Channels, visit: Visit) -> str:
    vin: str = visit.ids["vin"]
    try:
        await channels.rooms.order_management.vehicle(vin)
    except NotFoundError as error:
        raise NothingHereError from error
    return vin


OPERATIONS_VEHICLE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/vehicles/{vin:word}", vehicle, OPERATIONS),
    post("/operations/vehicles/{vin:word}/synchronization", synchronize, OPERATIONS),
)
