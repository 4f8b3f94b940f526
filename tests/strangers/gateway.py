"""A payment gateway that somebody else wrote from the interface alone: aiohttp and a dictionary.

Rules: it imports nothing of the platform or of its simulators; its own books are what the
platform's are compared with; each key is answered once.
"""

import asyncio
import base64
import contextlib
import csv
import hashlib
import hmac
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from tests.business_day import business_day
from tests.strangers.manners import Manners

Thing = dict[str, Any]
DECLINES = {"card-without-money": "insufficient_funds", "card-refused": "card_declined"}
PAGE = "/pay/"
LINE = ("line_no", "batch_id", "transaction_id", "reference", "type", "gross", "fee", "net",
        "currency", "booked_at", "value_date")  # fmt: skip


def as_csv(lines: list[Thing]) -> str:
    """Write a report as a file: a column for each field of a line, times in UTC."""
    written = io.StringIO()
    rows = csv.DictWriter(written, LINE, restval="", extrasaction="ignore")
    rows.writeheader()
    rows.writerows({**line, "booked_at": in_utc(line["booked_at"])} for line in lines)
    return written.getvalue()


def in_utc(instant: str) -> str:
    """Write an instant of these strangers in UTC, to the microsecond."""
    whole, _, rest = instant.partition(".")
    nanoseconds, zone = (int(rest[:9]), rest[9:]) if rest else (0, "")
    moment = datetime.fromisoformat(whole + zone) + timedelta(microseconds=nanoseconds / 1000)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True, kw_only=True)
class StrangeGateway:
    """The gateway: its transactions, its keys, its webhooks."""

    manners: Manners
    api_key: str
    webhook_secret: str
    webhook_url: str
    url: str = ""
    transactions: dict[str, Thing] = field(default_factory=dict)
    refunds: dict[str, Thing] = field(default_factory=dict)
    lines: list[Thing] = field(default_factory=list)
    answers: dict[str, tuple[int, Thing]] = field(default_factory=dict)
    reported: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    session: aiohttp.ClientSession | None = None

    # --- the five calls, and the capture -------------------------------------------------------

    async def initiate(self, request: web.Request) -> web.Response:
        """`POST /transactions`."""
        asked = await request.json()
        method = asked["payment_method"]
        status, decline = "authorized", DECLINES.get(method or "")
        if decline:
            status = "failed"
        elif method is None:
            status = "requires_action"
        thing = self._new(asked, status, decline)
        await self._call_first(f"transaction.{status}", thing)
        return await self._summary(request, 402 if decline else self.manners.done_status, thing)

    async def look_up(self, request: web.Request) -> web.Response:
        """`GET /transactions?reference=`."""
        found = [
            t for t in self.transactions.values() if t["reference"] == request.query["reference"]
        ]
        return web.json_response({"data": [self._written(thing) for thing in found]})

    async def query(self, request: web.Request) -> web.Response:
        """`GET /transactions/{id}`."""
        thing = self.transactions.get(request.match_info["id"])
        if thing is None:
            raise self._not_found()
        return web.json_response(self._written(thing))

    async def capture(self, request: web.Request) -> web.Response:
        """`POST /transactions/{id}/capture`."""
        thing = self._of(request)
        if thing["status"] == "voided":
            return await self._problem(request, 409, "already_voided")
        thing |= {"status": "capturing", "captured_amount": (await request.json())["amount"]}
        await self._call_first("transaction.capturing", thing)
        return await self._summary(request, 200, thing)

    async def void(self, request: web.Request) -> web.Response:
        """`POST /transactions/{id}/void`."""
        thing = self._of(request)
        if thing["captured_amount"]:
            return await self._problem(request, 409, "already_captured")
        thing["status"] = "voided"
        await self._call_first("transaction.voided", thing)
        return await self._summary(request, 200, thing)

    async def refund(self, request: web.Request) -> web.Response:
        """`POST /transactions/{id}/refund`."""
        thing, asked = self._of(request), await request.json()
        refund = {
            "id": self.manners.new_id("re"), "transaction_id": thing["id"],
            "amount": asked["amount"], "status": "pending",
        }  # fmt: skip
        self.refunds[refund["id"]] = refund
        return await self._summary(request, self.manners.done_status, refund)

    async def settlements(self, request: web.Request) -> web.Response:
        """`GET /settlements?date=&cursor=`."""
        day, at = request.query["date"], int(request.query.get("cursor", "0"))
        lines = [line for line in self.lines if line["value_date"] == day]
        if request.headers.get("Accept") == "text/csv":
            return web.Response(text=as_csv(lines), content_type="text/csv")
        until = at + self.manners.lines_per_page
        more = str(until) if until < len(lines) else None
        return web.json_response(
            self.manners.written(
                report_id=f"report:{day}", date=day, status="closed", line_count=len(lines),
                gross_total=sum(line["gross"] for line in lines),
                net_total=sum(line["net"] for line in lines),
                data=lines[at:until], next_cursor=more,
            )
        )  # fmt: skip

    # --- what happens at the gateway -----------------------------------------------------------

    async def customer_pays(self, page_url: str) -> None:
        """The customer pays on the hosted page."""
        thing = next(t for t in self.transactions.values() if t["hosted_page_url"] == page_url)
        thing["status"] = "authorized"
        await self.notify("transaction.authorized", thing)

    async def bank_settles(self, reference: str) -> None:
        """The bank pays for what was captured."""
        thing = self.of(reference)
        thing |= {"status": "settled", "settled_amount": thing["captured_amount"]}
        self._book("settlement", thing, thing["captured_amount"], fee=25)
        await self.notify("transaction.settled", thing)

    async def refunds_arrive(self, reference: str, *, silently: bool = False) -> None:
        """The bank gives back what we were asked to give back, once we were asked."""
        thing = self.of(reference)
        while not (pending := self._pending(thing["id"])):
            await asyncio.sleep(0.05)
        for refund in pending:
            refund["status"] = "succeeded"
            thing["refunded_amount"] += refund["amount"]
            self._book("refund", thing, -refund["amount"], fee=0)
            if not silently:
                await self.notify("refund.succeeded", refund)

    async def customer_disputes(self, reference: str) -> None:
        """The customer's bank takes the money back."""
        thing = self.of(reference)
        dispute = {"id": self.manners.new_id("dp"), "transaction_id": thing["id"]}
        dispute |= {"amount": thing["amount"]}
        for step in ("opened", "lost"):
            await self.notify(f"dispute.{step}", dispute)
        self._book("chargeback", thing, -thing["amount"], fee=1500)

    def takes_its_monthly_fee(self) -> None:
        """The gateway keeps what it asks for its services, of no payment in particular."""
        nobody = {"id": None, "reference": None, "currency": "EUR"}
        self._book("fee", nobody, 0, fee=990)

    def of(self, reference: str) -> Thing:
        """Return the one transaction of a payment."""
        (thing,) = [t for t in self.transactions.values() if t["reference"] == reference]
        return thing

    def _pending(self, transaction_id: str) -> list[Thing]:
        return [
            refund
            for refund in self.refunds.values()
            if refund["transaction_id"] == transaction_id and refund["status"] == "pending"
        ]

    async def notify(self, kind: str, thing: Thing) -> None:
        """Send a webhook until it is taken, as Standard Webhooks says."""
        event_id = self.manners.new_id("evt")
        message_id = event_id if self.manners.one_id_for_both else f"msg_{len(self.reported)}"
        message_id = "".join(c if c.isalnum() else "_" for c in message_id)
        data = self._written(thing) if "reference" in thing else self.manners.written(**thing)
        event = self.manners.written(
            id=event_id, type=kind, occurred_at=self.manners.instant(datetime.now(UTC)), data=data
        )
        body = json.dumps(event, ensure_ascii=False, indent=1).encode()
        assert self.session is not None
        for wait in (0.1, 0.5, 1.0, 2.0, 4.0):
            headers = {"content-type": "application/json", **self._signed(message_id, body)}
            with contextlib.suppress(aiohttp.ClientError):
                async with self.session.post(
                    self.webhook_url, data=body, headers=headers
                ) as answer:
                    if answer.status < 300:
                        self.reported.append(f"{kind} {answer.status}")
                        return
                    self.refused.append(f"{kind} {answer.status} {await answer.text()}")
            await asyncio.sleep(wait)

    # --- inside --------------------------------------------------------------------------------

    def _new(self, asked: Thing, status: str, decline: str | None) -> Thing:
        transaction_id = self.manners.new_id("tx")
        page = f"{self.url}{PAGE}{len(self.transactions)}" if status == "requires_action" else None
        thing = {
            "id": transaction_id, "reference": asked["reference"], "status": status,
            "amount": asked["amount"], "currency": asked["currency"],
            "captured_amount": 0, "settled_amount": 0, "refunded_amount": 0,
            "decline_code": decline, "hosted_page_url": page,
            "capture_before": self._expiry(), "created_at": datetime.now(UTC),
        }  # fmt: skip
        self.transactions[transaction_id] = thing
        return thing

    def _expiry(self) -> datetime | None:
        return datetime.now(UTC) + timedelta(days=6) if self.manners.funds_expire else None

    def _written(self, thing: Thing) -> Thing:
        moments = {
            key: self.manners.instant(value)
            for key, value in thing.items()
            if isinstance(value, datetime)
        }
        return self.manners.written(**{**thing, **moments})

    def _book(self, kind: str, thing: Thing, gross: int, *, fee: int) -> None:
        now = datetime.now(UTC)
        self.lines.append(
            self.manners.written(
                line_no=len(self.lines) + 1, batch_id=f"batch:{business_day(now)}",
                transaction_id=thing["id"], reference=thing["reference"], type=kind, gross=gross,
                fee=fee, net=gross - fee, currency=thing["currency"],
                booked_at=self.manners.instant(now), value_date=str(business_day(now)),
            )
        )  # fmt: skip

    def _of(self, request: web.Request) -> Thing:
        thing = self.transactions.get(request.match_info["id"])
        if thing is None:
            raise self._not_found()
        return thing

    def _not_found(self) -> web.HTTPNotFound:
        if self.manners.plain_not_found:
            return web.HTTPNotFound()
        body = {"type": "about:blank", "title": "Not found", "code": "no_such_transaction"}
        return web.HTTPNotFound(text=json.dumps(body), content_type="application/problem+json")

    async def _call_first(self, kind: str, thing: Thing) -> None:
        if self.manners.webhook_first:
            await self.notify(kind, thing)
        else:
            task = asyncio.get_running_loop().create_task(self.notify(kind, thing))
            task.add_done_callback(lambda done: done.result())

    async def _summary(self, request: web.Request, status: int, thing: Thing) -> web.Response:
        await asyncio.sleep(self.manners.answer_seconds)
        written = self._written(thing)
        self.answers[request.headers["Idempotency-Key"]] = (status, written)
        return web.json_response(written, status=status)

    async def _problem(self, request: web.Request, status: int, code: str) -> web.Response:
        body = {"type": f"https://gateway.example/{code}", "title": code, "code": code}
        self.answers[request.headers["Idempotency-Key"]] = (status, body)
        return web.json_response(body, status=status, content_type="application/problem+json")

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        at = str(int(time.time()))
        key = base64.b64decode(self.webhook_secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        signature = f"v1a,{'A' * 20} v1,{base64.b64encode(mac).decode()}"
        return {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": signature}

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"code": "unauthorized", "title": "No"}, status=401)
        key = request.headers.get("Idempotency-Key")
        if request.method == "POST" and key is None:
            return web.json_response({"code": "idempotency_key_missing"}, status=400)
        if key in self.answers:
            status, body = self.answers[key]
            return web.json_response(body, status=status)
        answer: web.StreamResponse = await handler(request)
        return answer


@contextlib.asynccontextmanager
async def open_for_business(gateway: StrangeGateway) -> AsyncIterator[StrangeGateway]:
    """Let the gateway listen."""
    application = web.Application(middlewares=[gateway._let_in])
    application.add_routes(
        [
            web.post("/v2/transactions", gateway.initiate),
            web.get("/v2/transactions", gateway.look_up),
            web.get("/v2/transactions/{id}", gateway.query),
            web.post("/v2/transactions/{id}/capture", gateway.capture),
            web.post("/v2/transactions/{id}/void", gateway.void),
            web.post("/v2/transactions/{id}/refund", gateway.refund),
            web.get("/v2/settlements", gateway.settlements),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    gateway.url = f"http://127.0.0.1:{port}/v2"
    async with aiohttp.ClientSession() as session:
        gateway.session = session
        yield gateway
    await runner.cleanup()
