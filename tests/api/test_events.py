"""What happened, for the rest of the company: read in order, and delivered as signed webhooks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from caas.billing_database.invariants import INVARIANTS
from tests.api.conftest import Doors
from tests.installation import PATIENCE_SECONDS
from tests.locks import holding

LOCK = "select lock_payment($1)"


@dataclass(slots=True)
class Subscriber:
    """Somebody who takes webhooks, or does not; every request is kept as it came."""

    url: str = ""
    status: int = 204
    taken: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Keep what came."""
        body = await request.read()
        self.requests.append((body, dict(request.headers)))
        if self.status < 300:  # success
            self.taken.append(await request.json())
        return web.Response(status=self.status)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    """A subscriber on a socket."""
    built = Subscriber()
    app = web.Application()
    app.router.add_post("/events", built.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    built.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield built
    await runner.cleanup()


async def until(doors: Doors, condition: Callable[[], bool]) -> None:
    """Let work be done until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await doors.installation.platform.jobs.run_due()
            await asyncio.sleep(0.01)


async def read_all(doors: Doors, query: str = "", limit: int = 100) -> list[dict[str, Any]]:
    """Follow the pages until nothing more is there."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = (await doors.get(f"/v1/events?limit={limit}{query}{after}")).json
        found += page["data"]
        after = f"&after={page['next_after']}"
        if not page["more"]:
            return found


async def test_events_come_in_order_and_page_by_page_without_gap(doors: Doors) -> None:
    payment = await doors.installation.settled()

    every = await read_all(doors)
    by_two = await read_all(doors, limit=2)
    settled = await read_all(doors, "&type=payment.bank_confirms")
    payments = await read_all(doors, "&type=payment")

    assert [it["id"] for it in by_two] == [it["id"] for it in every]
    assert [it["occurred_at"] for it in every] == sorted(it["occurred_at"] for it in every)
    [reported] = settled
    assert reported["data"]["payment"] == str(payment.id)
    assert (reported["data"]["state"], reported["data"]["kind"]) == ("Settled", "service")
    timeline = (await doors.get(f"/v1/payments/{payment.id}")).json["events"]
    of_payment = [it for it in payments if it["data"]["payment"] == str(payment.id)]
    assert len(of_payment) == len(timeline)
    for wrong in ("after=x", "after=1_payment", "type=car.sold", f"after={'9' * 18}"):
        refused = await doors.get(f"/v1/events?{wrong}")
        assert refused.status == 422, wrong


async def test_an_event_that_commits_late_is_not_passed_over(doors: Doors) -> None:
    first = await doors.installation.settled()
    async with holding(doors.installation.database.dsn, LOCK, first.id):
        await doors.installation.settled()
        early = (await doors.get("/v1/events?limit=100")).json

    late = await read_all(doors, f"&after={early['next_after']}")

    seen = [it["id"] for it in early["data"] + late]
    assert len(seen) == len(set(seen))
    assert set(seen) == {it["id"] for it in await read_all(doors)}


async def test_subscribers_get_each_event_signed_and_in_order(
    doors: Doors, subscriber: Subscriber
) -> None:
    wanted = {"url": subscriber.url, "types": ["payment"]}
    made = await doors.post("/v1/event-subscriptions", wanted, caller="operators")
    payment = await doors.installation.settled()
    await until(doors, lambda: "Settled" in [it["data"]["state"] for it in subscriber.taken])

    assert made.status == 201, made.body
    of_payment = [it for it in subscriber.taken if it["data"]["payment"] == str(payment.id)]
    assert [it["id"] for it in of_payment] == [
        it["id"] for it in await read_all(doors, "&type=payment")
        if it["data"]["payment"] == str(payment.id)
    ]  # fmt: skip
    for body, headers in subscriber.requests:
        Webhook(made.json["secret"]).verify(body, headers)
    shown = await doors.get(made.headers["location"], caller="operators")
    assert "secret" not in shown.json
    broken = [
        invariant.name
        for invariant in INVARIANTS
        if await doors.installation.database.fetch(invariant.query)
    ]
    assert broken == []


async def test_what_is_not_taken_is_sent_again_and_replayed(
    doors: Doors, subscriber: Subscriber
) -> None:
    subscriber.status = 500
    made = await doors.post("/v1/event-subscriptions", {"url": subscriber.url}, caller="operators")
    path = made.headers["location"]
    await doors.installation.settled()
    await until(doors, lambda: len(subscriber.requests) > 11)  # the alert's tries
    [case] = await doors.installation.platform.tables.cases.listed(
        kind="event_subscription_failing"
    )
    assert len({headers["webhook-id"] for _, headers in subscriber.requests}) == 1

    subscriber.status = 204
    first = subscriber.requests[0][1]["webhook-id"]
    again = await doors.post(f"{path}/replay", {"after": "0"}, caller="operators")
    await until(doors, lambda: "Settled" in [it["data"]["state"] for it in subscriber.taken])
    ended = await doors.call("DELETE", path, caller="operators")
    too_late = await doors.post(f"{path}/replay", {"after": "0"}, caller="operators")

    assert case.status == "open"
    assert again.status == 202, again.body
    assert first in {it["id"] for it in subscriber.taken}
    assert ended.json["ended_at"] is not None
    assert (too_late.status, too_late.json["code"]) == (409, "event_subscription_ended")
    listed = await doors.get("/v1/event-subscriptions", caller="operators")
    assert listed.json["data"] == []
    assert (
        await doors.installation.platform.tables.cases.listed(kind="event_subscription_failing")
        == []
    )


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "https://user@example.com/", "https://h/?q=1", "https://h:0/"]
)
async def test_events_go_nowhere_that_can_be_read_on_the_way(doors: Doors, url: str) -> None:
    refused = await doors.post("/v1/event-subscriptions", {"url": url}, caller="operators")
    unasked = await doors.post("/v1/event-subscriptions", {"url": url}, caller="services")

    assert refused.status == 422, refused.body
    assert unasked.status == 403
