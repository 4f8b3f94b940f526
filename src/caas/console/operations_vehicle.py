"""The services of a vehicle for operations: sold, target state, reported state.

From here, a vehicle that lost its memory is sent its desired state again.

Rules a change must keep: sending the state again changes no term and moves no money; a vehicle that
is not ours is reported as not found.
"""

from typing import Final

from caas.console.context import Console
from caas.console.entitlement_view import services_of_vehicle
from caas.console.form_actions import acted, form_result, new_key
from caas.console.page_routes import OPERATIONS, NothingHereError, PageRoute, get, post
from caas.console.request import PageRequest
from caas.errors import NotFoundError, RefusedError
from caas.web.response import Response

CONFIRMED: Final = "yes"


class ConfirmationNeededError(RefusedError):
    """Say that the vehicle is to be sent everything again."""

    code = "confirmation_needed"


async def vehicle(console: Console, request: PageRequest) -> Response:
    """Show the services of a vehicle: its terms, desired and reported state."""
    vin = await _vin(console, request)
    services = await services_of_vehicle(console, vin, language=request.language)
    return console.page(
        request, "operations/vehicle.html", vin=vin, services=services, key=new_key(),
        after=form_result(console, request),
    )  # fmt: skip


async def synchronize(console: Console, request: PageRequest) -> Response:
    """Send a vehicle the desired state of every service again."""
    vin = await _vin(console, request)

    async def act() -> None:
        if request.form.get("confirmed") != CONFIRMED:
            raise ConfirmationNeededError
        await console.platform.ota_activation_engine.synchronize(vin)

    return await acted(console, request, f"/operations/vehicles/{vin}", act)


async def _vin(console: Console, request: PageRequest) -> str:
    vin: str = request.ids["vin"]
    try:
        await console.platform.order_management.vehicles.get(vin)
    except NotFoundError as error:
        raise NothingHereError from error
    return vin


OPERATIONS_VEHICLE_ROUTES: Final[tuple[PageRoute, ...]] = (
    get("/operations/vehicles/{vin:word}", vehicle, OPERATIONS),
    post("/operations/vehicles/{vin:word}/synchronization", synchronize, OPERATIONS),
)
