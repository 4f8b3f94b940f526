"""A gateway of another package: what reads the database does not need that package's settings."""

from pathlib import Path

from tests.external_systems.installed_packages import install
from tests.external_systems.test_gateway_adapters import ADAPTER
from tests.start_up.conftest import Machine


async def test_what_only_reads_needs_no_settings_of_the_gateway(
    tmp_path: Path, machine: Machine, settings: dict[str, str]
) -> None:
    install(tmp_path, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=ADAPTER)
    given = {
        "CAAS_DATABASE_URL": settings["CAAS_DATABASE_URL"], "CAAS_GATEWAY": "acme",
        "PYTHONPATH": str(tmp_path),
    }  # fmt: skip

    ended = await (await machine.starts("days", **given)).ended()

    assert ended.status == 0, ended
