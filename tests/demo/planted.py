"""`caas demo` with a scene of ours in place of the seed's, for tests of its verdict.

`python planted.py NAME ...` plays the scenes of these names from `SCENES` below; `python planted.py
without-broker` plays scenes of the seed on a machine that has no broker and gets none.
"""

import json
import os
import sys
from pathlib import Path

from caas import local_machine
from caas.billing_database.due_work import DueWork
from caas.external_systems.mosquitto_program import NoBroker
from caas.notifications import Notifications
from caas.open_work import Answer
from caas_lab.__main__ import main as run_program
from caas_lab.demo import cast, performance
from caas_lab.demo.play import Play
from caas_lab.demo.story import Need, Scene

REFERENCE = "nobody-told-us"


async def _good(play: Play) -> None:
    """Buy a service as it should be bought."""
    customer, vin = await cast.customer(play, "Ana"), await cast.car(play)
    bought = await customer.buys_heated_seats(vin)
    payment = await play.payment_is(bought.payment, "Capturing")
    play.expect("the payment is", "Capturing", payment["state"])


async def _not_as_expected(play: Play) -> None:
    """Expect what is not so."""
    play.expect("the moon is", "green cheese", "a rock")


async def _breaks_off(_play: Play) -> None:
    """Fail before anything can be expected."""
    raise RuntimeError("the curtain fell")


async def _charged_behind_our_back(play: Play) -> None:
    """Let the gateway charge somebody for what the platform never asked."""
    async with play.stage.session.post(
        f"{play.stage.gateway.url}/transactions",
        json={"reference": REFERENCE, "amount": 100, "currency": "EUR", "capture": "automatic",
              "payment_method": "pm_ok", "customer_reference": "c", "description": "d"},
        headers={"authorization": f"Bearer {_gateway_key()}", "idempotency-key": "k" * 20},
    ) as answer:  # fmt: skip
        assert answer.ok, await answer.text()
    play.expect("nothing of this scene is", "wrong", "wrong")


def _gateway_key() -> str:
    folder = Path(os.environ["CAAS_DATA_DIR"]) / "demo"
    return str(json.loads((folder / "secrets.json").read_text())["gateway_api_key"])


SCENES = {
    "good": _good,
    "good-in-the-end": _good,
    "not-as-expected": _not_as_expected,
    "breaks-off": _breaks_off,
    "charged-behind-our-back": _charged_behind_our_back,
}


async def _no_broker(_folder: Path) -> NoBroker:
    return NoBroker("There is no broker to be had here.")


def without_broker() -> None:
    """Play what needs cars, where they have to stand in this process."""
    local_machine.start_local_broker = _no_broker  # type: ignore[assignment,attr-defined]
    only = ("service-paid", "car-refuses", "car-asleep", "final-paid")
    sys.argv = ["caas", "demo", *(f"--only={name}" for name in only)]
    run_program()


def breaking_inside() -> None:
    """Let the platform fail inside once, at a thing that it does again afterwards."""
    told = Notifications._notify_due
    breaks = iter((True,))

    async def tell(self: Notifications, work: DueWork) -> Answer:
        if next(breaks, False):
            raise RuntimeError("the post office is shut")
        return await told(self, work)

    Notifications._notify_due = tell  # type: ignore[method-assign]


def main(names: list[str]) -> None:
    """Put these scenes in place of all others, and run the command."""
    if names == ["without-broker"]:
        without_broker()
    if names == ["good-in-the-end"]:
        breaking_inside()
    performance.SCENES = tuple(  # type: ignore[attr-defined]  # the verdict on them is tested
        Scene(
            name=name, title="a planted scene", rule="none", tells="It is planted.",
            ends="planted", plays=SCENES[name], needs=frozenset({Need.STRINGS}),
        )
        for name in names
    )  # fmt: skip
    sys.argv = ["caas", "demo"]
    run_program()


if __name__ == "__main__":
    main(sys.argv[1:])
