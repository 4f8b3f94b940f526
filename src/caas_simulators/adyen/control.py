"""The control plane of the simulated Adyen, under `/_control/`.

Rules: what is done here could have happened (time that passes, a shopper who disputes, a scheme
that rejects) or is a scripted fault.
"""

from functools import partial
from typing import Final, Literal

import msgspec

from caas_simulators.adyen import cards, payments, reports
from caas_simulators.adyen.refusals import AdyenRefusal
from caas_simulators.adyen.world import World
from caas_simulators.control import FaultControl, PlainRoute, advanced, routed
from caas_simulators.faults import Faults
from caas_simulators.http_server import Answer, Request, json_answer

PATHS: Final = {
    "GET /_control/ledger": "every object of the account; ?kind= for one kind",
    "POST /_control/advance": "{seconds} of this world pass, or all {until} an instant",
    "POST /_control/expire": "{payment} let an authorisation expire",
    "POST /_control/report": "{payment, code, reason?, amount?} report something of a payment",
    "POST /_control/batch": "{number?} close a batch and announce its report, or correct that one",
    "POST /_control/token": "{token, holder} the card behind a token has another holder's results",
    "POST /_control/foreign": "{amount?} another program takes a payment in the same account",
}
Code = Literal[
    "CAPTURE_FAILED", "REFUND_FAILED", "NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK",
    "CHARGEBACK_REVERSED", "SECOND_CHARGEBACK", "REQUEST_FOR_INFORMATION", "CAPTURE",
]  # fmt: skip


class PaymentOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A payment."""

    payment: str


class ReportOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What is reported of a payment; `subject` is the dispute or refund that it is about."""

    payment: str
    code: Code
    reason: str = ""
    amount: int | None = None
    subject: str | None = None


class BatchOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The batch to close; with a number, the earlier one to correct."""

    number: int | None = None


class TokenOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What a stored card results in from now on."""

    token: str
    holder: str


class ForeignOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A payment of another program."""

    amount: int = 1_000


class Control:
    """Answers the requests to the control plane."""

    def __init__(self, world: World, faults: Faults, operations: frozenset[str]) -> None:
        """Rule this account."""
        self._world = world
        scripting = FaultControl(faults, ", ".join(sorted(operations)))
        self._routes: dict[tuple[str, str], PlainRoute] = {
            **scripting.routes,
            ("GET", ""): lambda _: scripting.listing(PATHS),
            ("GET", "ledger"): self._ledger, ("POST", "advance"): partial(advanced, world),
            ("POST", "expire"): self._expire, ("POST", "report"): self._report,
            ("POST", "foreign"): self._foreign, ("POST", "batch"): self._batch,
            ("POST", "token"): self._token,
        }  # fmt: skip

    def handle(self, request: Request) -> Answer:
        """Answer a request below `/_control/`."""
        return routed(self._routes, request, (AdyenRefusal,))

    def _ledger(self, request: Request) -> Answer:
        kind = request.query.get("kind", payments.PAYMENT)
        hidden = {"number", "holder", "challenged"}
        data = [
            {name: value for name, value in one.items() if name not in hidden}
            for one in self._world.store.some(kind)
        ]
        return json_answer(200, {"data": data})

    def _expire(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=PaymentOrder)
        payments.expire(self._world, order.payment)
        return json_answer(200, self._world.store.get(payments.PAYMENT, order.payment))

    def _report(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=ReportOrder)
        payment = self._world.store.get(payments.PAYMENT, order.payment)
        subject = order.subject or self._world.psp_reference()
        value = payment["value"] if order.amount is None else order.amount
        self._world.report(
            order.code, payment | {"value": value}, pspReference=subject,
            originalReference=payment["id"], reason=order.reason,
        )  # fmt: skip
        return json_answer(201, {"pspReference": subject})

    def _batch(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body or b"{}", type=BatchOrder)
        report = reports.close_batch(self._world, order.number)
        return json_answer(201, {name: report[name] for name in ("id", "number", "url")})

    def _token(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=TokenOrder)
        token = self._world.store.get(payments.TOKEN, order.token)
        self._world.store.put(token | {"holder": order.holder})
        return json_answer(200, {"token": order.token})

    def _foreign(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body or b"{}", type=ForeignOrder)
        payment = payments.new_payment(
            self._world, "another program's", (order.amount, "EUR"), manual=False
        )
        payments.authorise(self._world, payment, cards.AUTHORISED, None, None)
        return json_answer(201, {"pspReference": payment["id"]})
