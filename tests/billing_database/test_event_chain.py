"""The hash chain: what was written is verified offline, and any change to it shows."""

import msgspec

from caas.billing_database.connection import Database
from caas.billing_database.event_chain import ChainLine, broken_links, exported
from tests.installation import standing


async def chain_of_two_payments(database: Database) -> list[ChainLine]:
    """Make two payments with a history and export it."""
    async with standing(database) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        await installation.buys(vin=await installation.car("WVWZZZ1JZXW000002"))
        await installation.buys("pm_declined")
    return [line async for line in exported(database)]


async def test_an_untouched_export_holds_without_the_database(database: Database) -> None:
    lines = await chain_of_two_payments(database)

    assert len({line.payment_id for line in lines}) == 2
    assert list(broken_links(lines)) == []


async def test_every_changed_field_of_every_event_breaks_the_chain(database: Database) -> None:
    lines = await chain_of_two_payments(database)

    for position, line in enumerate(lines):
        for field in ("event", "to_state", "source", "facts", "at"):
            changed = msgspec.structs.replace(line, **{field: getattr(line, field) + "x"})
            tampered = [*lines[:position], changed, *lines[position + 1 :]]
            assert list(broken_links(tampered)), f"{field} of event {line.seq}"


async def test_a_removed_event_breaks_the_chain(database: Database) -> None:
    lines = await chain_of_two_payments(database)

    assert list(broken_links(lines[:1] + lines[2:]))
