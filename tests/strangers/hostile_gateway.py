"""A gateway of the documented contract that ignores Idempotency-Key: each POST is done anew.

While there is trouble it loses answers after doing the work, does the work after it hung up, or
drops it; it lists transactions in any order, and delivers webhooks late, twice, in any order or
never. Everything is drawn from a seed.

Rules: it imports nothing of the platform or of its simulators; a double is refused only where the
contract says so (a second capture, a refund of more than is left); its own ledger is the oracle.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import aiohttp
from aiohttp import web

Thing = dict[str, Any]
NewJob = Callable[[], tuple[int, Thing]]

DECLINES: Final = {"card-without-money": "insufficient_funds", "card-refused": "card_declined"}
ALIVE: Final = frozenset({"requires_action", "pending", "authorized"})
LATE_SECONDS_MAX: Final = 3.0
WEBHOOK_SECONDS_MAX: Final = 1.0
WEBHOOK_TRIES: Final = 5


class RefusalError(Exception):
    """The contract's refusal: a status and a code."""

    def __init__(self, status: int, code: str) -> None:
        """Keep what is answered."""
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(slots=True, kw_only=True)
class HostileGateway:
    """Its ledger, its mood, and whom it tells."""

    seed: int
    api_key: str
    webhook_secret: str
    webhook_url: str
    trouble: float = 0.3
    captures_at_once: bool = False
    url: str = ""
    transactions: dict[str, Thing] = field(default_factory=dict)
    refunds: dict[str, Thing] = field(default_factory=dict)
    posts: list[str] = field(default_factory=list)
    session: aiohttp.ClientSession | None = None
    chance: random.Random = field(init=False)
    under_way: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Draw everything from the seed."""
        self.chance = random.Random(self.seed)

    # --- the contract ---------------------------------------------------------------------------

    async def initiate(self, request: web.Request) -> web.StreamResponse:
        """`POST /transactions`."""
        asked = await request.json()
        return await self._post(request, lambda: self._initiated(asked))

    async def capture(self, request: web.Request) -> web.StreamResponse:
        """`POST /transactions/{id}/capture`."""
        thing, asked = self._of(request), await request.json()
        return await self._post(request, lambda: self._captured(thing, asked["amount"]))

    async def void(self, request: web.Request) -> web.StreamResponse:
        """`POST /transactions/{id}/void`."""
        thing = self._of(request)
        return await self._post(request, lambda: self._voided(thing))

    async def refund(self, request: web.Request) -> web.StreamResponse:
        """`POST /transactions/{id}/refund`."""
        thing, asked = self._of(request), await request.json()
        return await self._post(request, lambda: self._refunded(thing, asked["amount"]))

    async def look_up(self, request: web.Request) -> web.Response:
        """`GET /transactions?reference=`: all of them, in no order."""
        found = [dict(t) for t in self.of(request.query["reference"])]
        self.chance.shuffle(found)
        return web.json_response({"data": found})

    async def query(self, request: web.Request) -> web.Response:
        """`GET /transactions/{id}`."""
        return web.json_response(self._of(request))

    async def settlements(self, request: web.Request) -> web.Response:
        """`GET /settlements`: nothing yet."""
        day = request.query["date"]
        return web.json_response(
            {"report_id": f"report-{day}", "date": day, "status": "open", "line_count": 0,
             "gross_total": 0, "net_total": 0, "data": [], "next_cursor": None}
        )  # fmt: skip

    # --- what the test does ---------------------------------------------------------------------

    def of(self, reference: str) -> list[Thing]:
        """Return every transaction of a payment."""
        return [t for t in self.transactions.values() if t["reference"] == reference]

    async def heals(self) -> None:
        """Let trouble end, and everything that is under way arrive."""
        self.trouble = 0.0
        while self.under_way:
            await asyncio.gather(*self.under_way)

    def bank_settles(self) -> None:
        """The bank pays for everything that was captured and gives back what was refunded."""
        for thing in self.transactions.values():
            if thing["status"] == "capturing":
                thing |= {"status": "settled", "settled_amount": thing["captured_amount"]}
                self.notify("transaction.settled", thing)
        for refund in self.refunds.values():
            if refund["status"] == "pending":
                refund["status"] = "succeeded"
                thing = self.transactions[refund["transaction_id"]]
                thing["refunded_amount"] += refund["amount"]
                self.notify("refund.succeeded", refund)

    def notify(self, kind: str, thing: Thing) -> None:
        """Deliver a webhook: while there is trouble late, twice, or never."""
        event = {"id": self._new_id("evt"), "type": kind, "data": dict(thing),
                 "occurred_at": datetime.now(UTC).isoformat()}  # fmt: skip
        for _ in range(self.chance.choice((0, 0, 1, 2)) if self.trouble else 1):
            wait = self.chance.uniform(0, WEBHOOK_SECONDS_MAX) if self.trouble else 0.0
            self._later(wait, lambda: self._deliver(event))

    # --- the work -------------------------------------------------------------------------------

    def _initiated(self, asked: Thing) -> tuple[int, Thing]:
        self.posts.append(asked["reference"])
        decline = DECLINES.get(asked["payment_method"] or "")
        status = "failed" if decline else "authorized"
        if asked["payment_method"] is None:
            status = "requires_action"
        thing = {
            "id": self._new_id("tx"), "reference": asked["reference"], "status": status,
            "amount": asked["amount"], "currency": asked["currency"], "captured_amount": 0,
            "settled_amount": 0, "refunded_amount": 0, "decline_code": decline,
            "capture_before": (datetime.now(UTC) + timedelta(days=6)).isoformat(),
            "created_at": datetime.now(UTC).isoformat(), "hosted_page_url": None,
        }  # fmt: skip
        self.transactions[thing["id"]] = thing
        self.notify(f"transaction.{status}", thing)
        if self.captures_at_once and status == "authorized":
            self._captured(thing, thing["amount"])
        return (402 if decline else 201), thing

    def _captured(self, thing: Thing, amount: int) -> tuple[int, Thing]:
        if thing["status"] != "authorized":
            raise RefusalError(409, "already_voided" if thing["status"] == "voided" else
                          "already_failed" if thing["status"] == "failed" else
                          "not_yet_authorized" if thing["status"] in ALIVE else
                          "already_captured")  # fmt: skip
        thing |= {"status": "capturing", "captured_amount": amount}
        self.notify("transaction.capturing", thing)
        return 200, thing

    def _voided(self, thing: Thing) -> tuple[int, Thing]:
        if thing["status"] not in ALIVE:
            raise RefusalError(409, f"already_{thing['status']}" if thing["status"] in
                          {"voided", "failed"} else "already_captured")  # fmt: skip
        thing["status"] = "voided"
        self.notify("transaction.voided", thing)
        return 200, thing

    def _refunded(self, thing: Thing, amount: int) -> tuple[int, Thing]:
        pending = sum(
            refund["amount"]
            for refund in self.refunds.values()
            if refund["transaction_id"] == thing["id"] and refund["status"] == "pending"
        )
        if amount > thing["captured_amount"] - thing["refunded_amount"] - pending:
            raise RefusalError(409, "nothing_to_refund")
        refund = {"id": self._new_id("re"), "transaction_id": thing["id"], "amount": amount,
                  "status": "pending"}  # fmt: skip
        self.refunds[refund["id"]] = refund
        return 201, refund

    # --- trouble --------------------------------------------------------------------------------

    async def _post(self, request: web.Request, work: NewJob) -> web.StreamResponse:
        """Do the work each time it is asked for, whatever the key; while in trouble, badly."""
        if not self._in_trouble():
            return self._answered(work)
        mood = self.chance.choice(("loses the answer", "500 after", "does it late", "drops it"))
        if mood == "does it late":
            self._later(self.chance.uniform(0, LATE_SECONDS_MAX), self._quietly(work))
        elif mood != "drops it":
            self._answered(work)
        if mood == "500 after":
            return web.Response(status=500)
        assert request.transport is not None
        request.transport.close()
        return web.Response(status=500)

    def _answered(self, work: NewJob) -> web.Response:
        try:
            status, thing = work()
        except RefusalError as refusal:
            body = {"type": "about:blank", "title": refusal.code, "code": refusal.code}
            return web.json_response(
                body, status=refusal.status, content_type="application/problem+json"
            )
        return web.json_response(thing, status=status)

    def _quietly(self, work: NewJob) -> Callable[[], Awaitable[None]]:
        async def done() -> None:
            self._answered(work)

        return done

    def _in_trouble(self) -> bool:
        return self.chance.random() < self.trouble

    def _later(self, wait: float, work: Callable[[], Awaitable[None]]) -> None:
        async def after() -> None:
            await asyncio.sleep(wait)
            await work()

        task = asyncio.get_running_loop().create_task(after())
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _deliver(self, event: Thing) -> None:
        body = json.dumps(event).encode()
        assert self.session is not None
        for _ in range(WEBHOOK_TRIES):
            headers = {"content-type": "application/json", **self._signed(event["id"], body)}
            with contextlib.suppress(aiohttp.ClientError):
                async with self.session.post(
                    self.webhook_url, data=body, headers=headers
                ) as answer:
                    if answer.status < 300:
                        return
            await asyncio.sleep(0.5)

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        key = base64.b64decode(self.webhook_secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        signature = f"v1,{base64.b64encode(mac).decode()}"
        return {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": signature}

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{UUID(int=self.chance.getrandbits(128)).hex}"

    def _of(self, request: web.Request) -> Thing:
        thing = self.transactions.get(request.match_info["id"])
        if thing is None:
            body = {"type": "about:blank", "title": "Not found", "code": "not_found"}
            raise web.HTTPNotFound(text=json.dumps(body), content_type="application/problem+json")
        return thing

    @web.middleware
    async def let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Insist on what the contract asks of a request, and ignore the key's value."""
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"code": "unauthorized", "title": "No"}, status=401)
        if request.method == "POST" and "Idempotency-Key" not in request.headers:
            return web.json_response({"code": "idempotency_key_missing"}, status=400)
        answer: web.StreamResponse = await handler(request)
        return answer


@contextlib.asynccontextmanager
async def open_for_business(gateway: HostileGateway) -> AsyncIterator[HostileGateway]:
    """Let the gateway listen."""
    application = web.Application(middlewares=[gateway.let_in])
    application.add_routes(
        [
            web.post("/transactions", gateway.initiate),
            web.get("/transactions", gateway.look_up),
            web.get("/transactions/{id}", gateway.query),
            web.post("/transactions/{id}/capture", gateway.capture),
            web.post("/transactions/{id}/void", gateway.void),
            web.post("/transactions/{id}/refund", gateway.refund),
            web.get("/settlements", gateway.settlements),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        gateway.session = session
        yield gateway
        gateway.trouble = 0.0
        for task in list(gateway.under_way):
            task.cancel()
    await runner.cleanup()
