"""The Internal Payment API over a socket, with a real house behind it."""

from uuid import UUID, uuid4

from caas.rules.payment_states import PaymentState
from tests.api.conftest import Doors, Reply


async def bought(doors: Doors, method: str | None = "pm_ok", **more: object) -> dict[str, object]:
    """The body of an initiate call for heated seats."""
    customer = await doors.house.customer()
    order = await doors.house.platform.service_catalog.create_service_order(
        customer=customer, vin="WVWZZZ1JZXW000001", service="heated-seats", duration_days=30
    )
    body: dict[str, object] = {
        "subject": str(order.id), "customer": str(customer), "amount": 1299, "currency": "EUR",
        **more,
    }  # fmt: skip
    return body if method is None else {**body, "payment_method": method}


async def pays(doors: Doors, method: str | None = "pm_ok", **more: object) -> Reply:
    """Initiate a service payment."""
    return await doors.post(
        "/v1/payments/service", await bought(doors, method), caller="services", **more
    )


async def test_a_service_payment_is_answered_once_its_funds_are_held(doors: Doors) -> None:
    answer = await pays(doors)

    assert answer.status == 201, answer.body
    payment = answer.json
    assert (payment["type"], payment["outcome"]) == ("service", "known")
    assert payment["state"] in {"Authorized", "Capturing"}
    assert payment["amounts"]["authorised"] == payment["amount"] == 1299
    assert payment["events"][0]["event"] == "Customer submits payment"
    assert answer.headers["location"] == f"/v1/payments/{payment['id']}"
    assert (await doors.get(answer.headers["location"])).status == 200
