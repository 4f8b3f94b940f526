"""The control plane of the simulated Stripe, under `/_control/`.

Rules: what is done here could have happened (time that passes, a cardholder who disputes, another
program that uses the same account) or is a scripted fault.
"""

from functools import partial
from typing import Final

import msgspec

from caas_simulators.control import FaultControl, PlainRoute, advanced, routed
from caas_simulators.faults import Faults
from caas_simulators.http_server import Answer, Request, json_answer, problem
from caas_simulators.stripe import calls, charges, disputes, fraud, intents, payouts
from caas_simulators.stripe.refusals import Json, StripeRefusal
from caas_simulators.stripe.shapes import shown
from caas_simulators.stripe.webhooks import Webhooks
from caas_simulators.stripe.world import World

PATHS: Final = {
    "GET /_control/ledger": "every object of the account; ?kind= for one kind",
    "POST /_control/advance": "{seconds} of this world pass, or all {until} an instant",
    "POST /_control/settle": "what was captured becomes available at once",
    "POST /_control/dispute": "{payment_intent, status, reason?, amount?} open or change one",
    "POST /_control/fraud_warning": "{payment_intent, fraud_type?} its issuer warns of fraud",
    "POST /_control/decline": "{decline_code, code?, times?} refuse the next charges of cards so",
    "POST /_control/payout": "{fails?} pay out what is available; the bank returns it",
    "POST /_control/foreign": "{amount?} another program takes a payment in the same account",
    "POST /_control/webhooks": "{url, secrets} where all events go, besides the endpoints",
}


class DisputeOrder(msgspec.Struct, forbid_unknown_fields=True):
    """What becomes of a dispute of a PaymentIntent; the first order opens it."""

    payment_intent: str
    status: str
    reason: str = "fraudulent"
    amount: int | None = None


class FraudOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A warning of a card's issuer about a PaymentIntent."""

    payment_intent: str
    fraud_type: str = "made_with_stolen_card"


class DeclineOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Codes with which the next charges are refused, whatever their card."""

    decline_code: str
    code: str = "card_declined"
    times: int = 1


class PayoutOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A payout of everything that is available."""

    fails: bool = False


class ForeignOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A payment of another program."""

    amount: int = 1_000


class WebhookOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Where all events go."""

    url: str
    secrets: list[str]


class Control:
    """Answers the requests to the control plane."""

    def __init__(self, world: World, faults: Faults, webhooks: Webhooks) -> None:
        """Rule this account."""
        self._world = world
        self._webhooks = webhooks
        scripting = FaultControl(faults, ", ".join(sorted(calls.OPERATIONS)))
        self._routes: dict[tuple[str, str], PlainRoute] = {
            **scripting.routes,
            ("GET", ""): lambda _: scripting.listing(PATHS),
            ("GET", "ledger"): self._ledger, ("POST", "advance"): partial(advanced, world),
            ("POST", "settle"): self._settle, ("POST", "dispute"): self._dispute,
            ("POST", "foreign"): self._foreign, ("POST", "webhooks"): self._aim,
            ("POST", "decline"): self._decline, ("POST", "payout"): self._payout,
            ("POST", "fraud_warning"): self._warn,
        }  # fmt: skip

    def handle(self, request: Request) -> Answer:
        """Answer a request below `/_control/`."""
        return routed(self._routes, request, (StripeRefusal,))

    def _ledger(self, request: Request) -> Answer:
        kind = request.query.get("kind", "payment_intent")
        data = [shown(self._world.store, one) for one in self._world.store.some(kind)]
        return json_answer(200, {"data": data, "unfinished": self._webhooks.unfinished})

    def _settle(self, request: Request) -> Answer:
        del request
        now, settled = self._world.store.now(), {"charge": 0, "refund": 0}
        for row in self._world.store.some("balance_transaction"):
            if row["available_on"] > now:
                self._world.store.put(row | {"available_on": now})
                settled[row["type"]] = settled.get(row["type"], 0) + 1
        return json_answer(200, {"settlements": settled["charge"], "refunds": settled["refund"]})

    def _dispute(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=DisputeOrder)
        if order.status not in disputes.STATUSES:
            return problem(422, "unknown_status", f"Statuses: {', '.join(disputes.STATUSES)}.")
        store = self._world.store
        intent = store.get("payment_intent", order.payment_intent)
        known: Json | None = next(store.some("dispute", payment_intent=intent["id"]), None)
        if known is not None:
            return json_answer(200, shown(store, disputes.become(self._world, known, order.status)))
        charge = charges.dict_of(store.find("charge", intent["latest_charge"]))
        opened = disputes.open_dispute(
            self._world, charge, status=order.status, reason=order.reason, amount=order.amount
        )
        return json_answer(201, shown(store, opened))

    def _warn(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=FraudOrder)
        intent = self._world.store.get("payment_intent", order.payment_intent)
        charge = charges.dict_of(self._world.store.find("charge", intent["latest_charge"]))
        warning = fraud.warn(self._world, charge, order.fraud_type)
        return json_answer(201, shown(self._world.store, warning))

    def _decline(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=DeclineOrder)
        self._world.declines += [(order.code, order.decline_code)] * order.times
        return json_answer(200, {"declines": len(self._world.declines)})

    def _payout(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=PayoutOrder)
        made = payouts.pay_out(self._world, fails=order.fails)
        return json_answer(201, {"data": [shown(self._world.store, one) for one in made]})

    def _foreign(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=ForeignOrder)
        asked: Json = {"amount": order.amount, "currency": "eur", "confirm": True,
                       "payment_method": "pm_card_visa", "metadata": {"app": "other"}}  # fmt: skip
        return json_answer(201, shown(self._world.store, intents.create(self._world, asked)))

    def _aim(self, request: Request) -> Answer:
        order = msgspec.json.decode(request.body, type=WebhookOrder)
        self._world.settings.webhook_url = order.url
        self._world.settings.webhook_secrets = order.secrets
        return json_answer(200, {"url": order.url})
