"""The first day on one machine: staff who may sign in, and something to sell."""

import json
from pathlib import Path
from stat import S_IMODE

from caas.console.sample_data import first_day
from tests.console.test_safety import client_of
from tests.console.town import Town


async def test_everybody_of_the_first_day_can_sign_in(town: Town, tmp_path: Path) -> None:
    await town.as_owner("alter table caas.accounts disable trigger never_removed")
    await town.as_owner("delete from caas.accounts")
    await town.as_owner("alter table caas.accounts enable always trigger never_removed")
    await town.as_owner("select caas.sum_anew('accounts')")
    staff = await first_day(town.platform, tmp_path, key_of=None)

    homes = set()
    for member in staff:
        client = client_of(town)
        reply = await client.sign_in(member.login, member.password)
        await client.session.close()
        homes.add(reply.headers["location"])
    kept = tmp_path / "staff.json"

    assert homes == {"/intranet", "/operations"}
    assert len(staff) == 4
    assert S_IMODE(kept.stat().st_mode) == 0o600
    assert set(json.loads(kept.read_text())) == {member.login for member in staff}


async def test_a_second_start_changes_nothing(town: Town, tmp_path: Path) -> None:
    stock = [car.vin for car in await town.platform.order_management.vehicles.listed()]
    first = await first_day(town.platform, tmp_path, key_of=None)

    second = await first_day(town.platform, tmp_path, key_of=None)

    assert [member.password for member in first] == [member.password for member in second]
    assert [car.vin for car in await town.platform.order_management.vehicles.listed()] == stock


async def test_a_finished_car_has_the_key_it_signs_with(town: Town, tmp_path: Path) -> None:
    for table, guard in (("vehicle_events", "append_only"), ("vehicles", "never_removed")):
        await town.as_owner(f"alter table caas.{table} disable trigger {guard}")
        await town.as_owner(f"delete from caas.{table}")
        await town.as_owner(f"alter table caas.{table} enable always trigger {guard}")
    await town.as_owner("select caas.sum_anew('vehicles')")

    async def key_of(vin: str) -> bytes:
        return vin.encode().ljust(32, b"k")

    await first_day(town.platform, tmp_path, key_of=key_of)
    cars = await town.platform.order_management.vehicles.listed()

    assert {car.finished for car in cars} == {True, False}
    assert all((car.public_key is not None) == car.finished for car in cars)
