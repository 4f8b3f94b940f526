"""`caas demo` with scenarios of its own, for tests of its verdict.

`python planted.py NAME ...` runs the scenarios of these names from `SCENARIOS` below; `python
planted.py without-broker` runs usual scenarios on a machine without a broker.
"""

import json
import os
import sys
from pathlib import Path

from caas import local_machine
from caas.billing_database.job_rows import Job
from caas.external_systems.mosquitto_program import NoBroker
from caas.jobs import Answer
from caas.notifications import Notifications
from caas_lab.__main__ import main as run_program
from caas_lab.demo import fixtures, runner
from caas_lab.demo.scenario import Need, Scenario
from caas_lab.demo.scenario_run import ScenarioRun

REFERENCE = "nobody-told-us"


async def _good(run: ScenarioRun) -> None:
    """Buy a service as it should be bought."""
    customer, vin = await fixtures.customer(run, "Ana"), await fixtures.car(run)
    bought = await customer.buy_heated_seats(vin)
    payment = await run.wait_for_payment(bought.payment, "Capturing")
    run.expect("the payment is", "Capturing", payment["state"])


async def _not_as_expected(run: ScenarioRun) -> None:
    """Expect what is not so."""
    run.expect("the moon is", "green cheese", "a rock")


async def _breaks_off(_play: ScenarioRun) -> None:
    """Fail before anything can be expected."""
    raise RuntimeError("the curtain fell")


async def _charged_behind_our_back(run: ScenarioRun) -> None:
    """Let the gateway charge somebody for what the platform never asked."""
    async with run.testbed.session.post(
        f"{run.testbed.gateway.url}/transactions",
        json={"reference": REFERENCE, "amount": 100, "currency": "EUR", "capture": "automatic",
              "payment_method": "pm_ok", "customer_reference": "c", "description": "d"},
        headers={"authorization": f"Bearer {_gateway_key()}", "idempotency-key": "k" * 20},
    ) as answer:  # fmt: skip
        assert answer.ok, await answer.text()
    run.expect("nothing of this scene is", "wrong", "wrong")


def _gateway_key() -> str:
    folder = Path(os.environ["CAAS_DATA_DIR"]) / "demo"
    return str(json.loads((folder / "secrets.json").read_text())["gateway_api_key"])


SCENARIOS = {
    "good": _good,
    "good-in-the-end": _good,
    "not-as-expected": _not_as_expected,
    "breaks-off": _breaks_off,
    "charged-behind-our-back": _charged_behind_our_back,
}


async def _no_broker(_folder: Path) -> NoBroker:
    return NoBroker("There is no broker to be had here.")


def without_broker() -> None:
    """Run scenarios with vehicles, which have to be simulated in this process."""
    local_machine.start_local_broker = _no_broker  # type: ignore[assignment,attr-defined]
    only = ("service-paid", "car-refuses", "car-asleep", "final-paid")
    sys.argv = ["caas", "demo", *(f"--only={name}" for name in only)]
    run_program()


def breaking_inside() -> None:
    """Let the platform fail inside once, at a thing that it does again afterwards."""
    data = Notifications._notify_due
    breaks = iter((True,))

    async def notify(self: Notifications, job: Job) -> Answer:
        if next(breaks, False):
            raise RuntimeError("the post office is shut")
        return await data(self, job)

    Notifications._notify_due = notify  # type: ignore[method-assign]


def main(names: list[str]) -> None:
    """Replace all scenarios by these, and run the command."""
    if names == ["without-broker"]:
        without_broker()
    if names == ["good-in-the-end"]:
        breaking_inside()
    runner.SCENARIOS = tuple(  # type: ignore[attr-defined]  # the verdict on them is tested
        Scenario(
            name=name, title="a planted scenario", rule="none", text="It is planted.",
            expected_end="planted", steps=SCENARIOS[name], needs=frozenset({Need.CONTROL_PLANES}),
        )
        for name in names
    )  # fmt: skip
    sys.argv = ["caas", "demo"]
    run_program()


if __name__ == "__main__":
    main(sys.argv[1:])
