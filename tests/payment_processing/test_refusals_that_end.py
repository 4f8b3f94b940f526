"""A case about requests that the gateway refuses ends when the gateway accepts them again."""

from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.rules.payment_states import PaymentState
from tests.installation import VIN, Installation, standing
from tests.subscription_installation import SubscriptionInstallation
from tests.subscription_installation import standing as subscriptions

OTHER_VIN = "WVWZZZ1JZXW000002"
KEY_REJECTED = {"status": 401, "code": "invalid_api_key"}
WRONG_REQUEST = {"status": 422, "code": "invalid_request"}


@pytest.fixture
async def installation(database: Database) -> AsyncIterator[Installation]:
    """An installation with two cars and a service on offer."""
    async with standing(database) as built:
        await built.car()
        await built.car(OTHER_VIN)
        await built.offer_heated_seats()
        yield built


async def cases(installation: Installation | SubscriptionInstallation) -> list[str]:
    """Return the kinds of the open cases."""
    return [case.kind for case in await installation.platform.tables.cases.listed()]


@pytest.mark.parametrize(
    ("refusal", "left"), [(KEY_REJECTED, []), (WRONG_REQUEST, ["gateway_refuses"])]
)
async def test_the_case_of_a_rejected_key_ends_with_the_next_payment_that_is_accepted(
    installation: Installation, refusal: dict[str, object], left: list[str]
) -> None:
    """What was wrong with one request is not shown to be mended by another one."""
    fault = {"match": {"operation": "initiate", "times": 1}, "action": refusal}
    await installation.gateway_does("faults", **fault)
    failed = await installation.buys(vin=VIN)
    before = await cases(installation)

    await installation.buys(vin=OTHER_VIN)

    assert (failed.state, before) == (PaymentState.FAILED, ["gateway_refuses"])
    assert await cases(installation) == left


async def test_the_case_of_a_capture_ends_when_it_is_accepted(installation: Installation) -> None:
    fault = {"match": {"operation": "capture", "times": 1}, "action": KEY_REJECTED}
    await installation.gateway_does("faults", **fault)

    payment = await installation.buys()
    await installation.until_settled(payment.id)

    assert await cases(installation) == []
    [case] = await installation.platform.tables.cases.listed(status="resolved")
    assert (case.kind, case.owner) == ("gateway_refuses", "caas")


async def test_the_case_of_a_month_ends_when_it_is_charged(database: Database) -> None:
    async with subscriptions(database) as installation:
        await installation.car()
        await installation.offer()
        subscription = await installation.active()
        await installation.from_now_on(**KEY_REJECTED)
        invoice = await installation.billed(subscription)
        [payment] = await installation.tables.payments.listed(subject=invoice.id)
        case = await installation.until_case(payment.id)

        await installation.faults_end()
        await installation.charged(invoice)
        await installation.rest()

        assert case.kind == "gateway_refuses"
        assert await cases(installation) == []
