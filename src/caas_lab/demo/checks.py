"""The expectations at the end of a scenario, each checked at its authoritative source.

Rules a change must keep: charges are checked at the gateway, deliveries in the vehicle,
notifications in the recipient's mail; the platform's own response proves none of them.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

from caas.external_systems.local_outbox import Letter, read_letter
from caas_lab.demo.fixtures import HEATED_SEATS, Customer, Dealership
from caas_lab.demo.scenario_run import ScenarioRun, money

_read: Final = cache(read_letter)


def expect_state(run: ScenarioRun, payment: dict[str, Any], state: str) -> None:
    """Expect a payment to be in this state of Diagram 9."""
    run.expect(f"the {payment['type']} payment is", state, payment["state"])


def expect_money(run: ScenarioRun, payment: dict[str, Any], **amounts: int) -> None:
    """Expect these amounts of a payment: authorized, captured, settled, refunded, disputed."""
    for name, amount in amounts.items():
        run.expect(f"{name}", money(amount), money(payment["amounts"][name]))


async def expect_charges(run: ScenarioRun, payment_id: str, charges: int) -> None:
    """Expect the gateway's own ledger to show this number of charges of a payment."""
    data = await run.testbed.gateway.ledger(payment_id)
    run.expect("charges in the gateway's own ledger", charges, data["charges_executed"])


async def expect_vehicle(run: ScenarioRun, vin: str, state: str) -> None:
    """Expect a vehicle to be in this state."""
    run.expect("the vehicle is", state, (await run.vehicle(vin))["state"])


async def expect_seats(run: ScenarioRun, vin: str, *, heated: bool, what: str = "") -> None:
    """Expect the heated seats to be on or off in the vehicle itself."""
    await expect_switched(run, vin, HEATED_SEATS, on=heated, what=what)


async def expect_switched(
    run: ScenarioRun, vin: str, service: str, *, on: bool, what: str = ""
) -> None:
    """Expect a service to be on or off in the vehicle itself."""

    async def is_on() -> bool:
        return service in (await run.testbed.vehicles.car(vin))["active"]

    async def as_expected() -> bool:
        return await is_on() is on

    await run.wait_until(as_expected)
    names = {True: "on", False: "off"}
    run.expect(what or "in the vehicle the service is", names[on], names[await is_on()])


async def expect_mail(run: ScenarioRun, who: Customer, title: str, *, containing: str) -> None:
    """Expect a customer to have mail with this beginning of a title and this text."""
    outbox = run.testbed.outbox
    if outbox is None:
        return

    def found() -> str:
        mails = [it for it in _letters(outbox, who.email) if it.title.startswith(title)]
        return (
            containing
            if any(containing in mail.text for mail in mails)
            else f"{len(mails)} such mails"
        )

    async def there() -> bool:
        return found() == containing

    await run.wait_until(there)
    run.expect(f"{who.name}'s {title.lower()} contains", containing, found())


async def notified(
    run: ScenarioRun, who: Customer | Dealership | str, title: str, *, times: int = 1
) -> str:
    """Wait until a person has mail with this title; return it, or all their titles."""
    outbox = run.testbed.outbox
    if outbox is None:
        return title
    address = who if isinstance(who, str) else getattr(who, "email", who.name)

    def titles() -> list[str]:
        return [mail.title for mail in _letters(outbox, address) if mail.at >= run.result.began_at]

    async def there() -> bool:
        return titles().count(title) >= times

    await run.wait_until(there)
    return title if await there() else ", ".join(titles()) or "nothing"


async def expect_notification(
    run: ScenarioRun, who: Customer | Dealership | str, title: str, *, times: int = 1
) -> None:
    """Expect a person to have mail with this title.

    On another platform only our own customers are checked: others may read another language.
    """
    ours = isinstance(who, Customer) or run.testbed.is_ours
    if run.testbed.outbox is not None and ours:
        name = who if isinstance(who, str) else who.name
        run.expect(f"{name} is notified", title, await notified(run, who, title, times=times))


async def expect_ledger(run: ScenarioRun, payment_id: str, account: str, amount: int) -> None:
    """Expect a payment to have this balance on an account of the ledger."""
    if run.testbed.records is None:
        return
    balance = await run.testbed.records.balance(payment_id, account)
    run.expect(f"ledger, {account}", money(amount), money(balance))


async def expect_no_second_transaction(run: ScenarioRun, payment_id: str) -> None:
    """Expect the gateway to have one transaction of a payment, whatever was retried."""
    data = await run.testbed.gateway.ledger(payment_id)
    run.expect("transactions at the gateway", 1, len(data["transactions"]))


def _letters(outbox: Path, recipient: str) -> list[Letter]:
    """Return everything that was sent to this address, oldest first."""
    letters = (_read(path) for path in outbox.glob("*.eml"))
    return sorted((it for it in letters if it.recipient == recipient), key=lambda it: it.at)
