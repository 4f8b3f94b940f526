"""What a scene expects at its end, asked of each party for itself: platform, gateway, car, mail.

Rules a change must keep: what was charged is asked of the gateway, what was delivered of the car,
what somebody was told of that person's mail; the platform's own word alone proves none of them.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

from caas.external_systems.outbox_letters import Letter, read_letter
from caas_lab.demo.cast import HEATED_SEATS, Customer, Dealership
from caas_lab.demo.play import Play, money

OPERATIONS: Final = "operations"
_read: Final = cache(read_letter)


def expect_state(play: Play, payment: dict[str, Any], state: str) -> None:
    """Expect a payment to be in this state of Diagram 9."""
    play.expect(f"the {payment['type']} payment is", state, payment["state"])


def expect_money(play: Play, payment: dict[str, Any], **amounts: int) -> None:
    """Expect these amounts of a payment: authorised, captured, settled, refunded, disputed."""
    for name, amount in amounts.items():
        play.expect(f"{name}", money(amount), money(payment["amounts"][name]))


async def expect_charges(play: Play, payment_id: str, charges: int) -> None:
    """Expect the gateway's own books to show so many charges of a payment."""
    told = await play.stage.gateway.ledger(payment_id)
    play.expect("charges in the gateway's own books", charges, told["charges_executed"])


async def expect_vehicle(play: Play, vin: str, state: str) -> None:
    """Expect a vehicle to be in this state."""
    play.expect("the vehicle is", state, (await play.vehicle(vin))["state"])


async def expect_seats(play: Play, vin: str, *, heated: bool, what: str = "") -> None:
    """Expect the car itself to have its seats heated, or not."""
    await expect_switched(play, vin, HEATED_SEATS, on=heated, what=what)


async def expect_switched(play: Play, vin: str, service: str, *, on: bool, what: str = "") -> None:
    """Expect a service to be on in the car, or off, by the car's own account."""

    async def is_on() -> bool:
        return service in (await play.stage.vehicles.car(vin))["active"]

    async def as_expected() -> bool:
        return await is_on() is on

    await play.until(as_expected)
    names = {True: "on", False: "off"}
    play.expect(what or "in the car the service is", names[on], names[await is_on()])


async def expect_mail(play: Play, who: Customer, title: str, *, says: str) -> None:
    """Expect a customer to have mail whose title begins like this and whose text says this."""
    outbox = play.stage.outbox
    if outbox is None:
        return

    def found() -> str:
        mails = [it for it in _letters(outbox, who.email) if it.title.startswith(title)]
        return says if any(says in mail.text for mail in mails) else f"{len(mails)} such mails"

    async def there() -> bool:
        return found() == says

    await play.until(there)
    play.expect(f"{who.name}'s {title.lower()} says", says, found())


async def told(play: Play, who: Customer | Dealership | str, title: str, *, times: int = 1) -> str:
    """Wait until somebody has mail with this title; return it, or all there is instead."""
    outbox = play.stage.outbox
    if outbox is None:
        return title
    address = who if isinstance(who, str) else getattr(who, "email", who.name)

    def titles() -> list[str]:
        return [mail.title for mail in _letters(outbox, address) if mail.at >= play.story.began_at]

    async def there() -> bool:
        return titles().count(title) >= times

    await play.until(there)
    return title if await there() else ", ".join(titles()) or "nothing"


async def expect_told(
    play: Play, who: Customer | Dealership | str, title: str, *, times: int = 1
) -> None:
    """Expect somebody to have got mail with this title.

    Whom we did not make known to a platform is written to in a language of its own choice.
    """
    ours = isinstance(who, Customer) or play.stage.is_ours
    if play.stage.outbox is not None and ours:
        name = who if isinstance(who, str) else who.name
        play.expect(f"{name} is told", title, await told(play, who, title, times=times))


async def expect_ledger(play: Play, payment_id: str, account: str, amount: int) -> None:
    """Expect a payment to have left this balance on an account of the ledger."""
    if play.stage.records is None:
        return
    balance = await play.stage.records.balance(payment_id, account)
    play.expect(f"ledger, {account}", money(amount), money(balance))


async def expect_no_second_transaction(play: Play, payment_id: str) -> None:
    """Expect the gateway to know one transaction of a payment, whatever was sent again."""
    told = await play.stage.gateway.ledger(payment_id)
    play.expect("transactions the gateway knows of it", 1, len(told["transactions"]))


def _letters(outbox: Path, recipient: str) -> list[Letter]:
    """Return everything that was sent to this address, oldest first."""
    letters = (_read(path) for path in outbox.glob("*.eml"))
    return sorted((it for it in letters if it.recipient == recipient), key=lambda it: it.at)
