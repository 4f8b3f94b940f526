"""A gateway's adapter is found by its name among the entry points of installed packages."""

import sys
import tomllib
from pathlib import Path

import pytest

from caas.external_systems import gateway_adapters
from caas.external_systems.gateway_adapters import GROUP, UnknownGatewayError
from caas.setting_values import SettingError
from caas.settings import read_settings
from tests.external_systems.installed_packages import install
from tests.start_up.test_settings import RIGHT

ROOT = Path(__file__).parents[2]
ADAPTER = """
from msgspec.structs import replace
from caas.external_systems.contract_adapter import CONTRACT_ADAPTER
from caas.external_systems.gateway_adapters import GatewayAdapter, read_access
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas.setting_values import SettingReader, needed

def configure(environment):
    reader = SettingReader(environment)
    read_access(reader, WebhookVerifier)
    reader.read(lambda it: needed(it, "ACME_MERCHANT"))
    reader.read(lambda it: needed(it, "ACME_REGION"))
    reader.raise_problems()
    contract = CONTRACT_ADAPTER.configure(environment)
    def connect(context):
        gateway = contract.connect(context)
        gateway.name = "acme"
        return gateway
    return replace(contract, connect=connect)

ADAPTER = GatewayAdapter(
    configure=configure, unused={"ACME_MERCHANT": "none", "ACME_REGION": "none"}
)
SOMETHING_ELSE = "no adapter"
"""
OWN = {"ACME_MERCHANT": "m-1", "ACME_REGION": "eu"}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the import path; what is installed there is gone afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("acme_pay", "other_pay"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_ours_are_registered_as_those_of_others_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    written = {name: entry.value for name, entry in gateway_adapters.BUILT_IN.items()}

    assert project["entry-points"][GROUP] == written
    assert set(gateway_adapters.known_names()) >= {"contract", "stripe"}


def test_an_installed_package_is_chosen_by_its_name(installed: Path) -> None:
    install(installed, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=ADAPTER)

    settings = read_settings(RIGHT | OWN | {"CAAS_GATEWAY": "acme"})

    assert settings.gateways["acme"].address == RIGHT["CAAS_GATEWAY_URL"]


def test_what_an_adapter_lacks_is_told_at_once_with_what_the_platform_lacks(
    installed: Path,
) -> None:
    install(installed, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=ADAPTER)
    lacking = {"CAAS_GATEWAY_API_KEY", "CAAS_PUBLIC_URL"}
    given = {name: value for name, value in RIGHT.items() if name not in lacking}

    with pytest.raises(SettingError) as caught:
        read_settings(given | {"CAAS_GATEWAY": "acme", "CAAS_GATEWAY_URL": "nonsense"})

    assert caught.value.sentence.startswith(
        "CAAS_GATEWAY_API_KEY, ACME_MERCHANT, ACME_REGION and CAAS_PUBLIC_URL are not set."
    )
    assert "CAAS_GATEWAY_URL is not a valid address." in caught.value.sentence


def test_an_unknown_name_is_told_with_the_known_ones(installed: Path) -> None:
    install(installed, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=ADAPTER)

    with pytest.raises(SettingError) as caught:
        read_settings(RIGHT | {"CAAS_GATEWAY": "acmee"})

    assert (
        "CAAS_GATEWAY is 'acmee'; use one of acme, adyen, contract, stripe" in caught.value.sentence
    )


def test_a_name_that_two_packages_register_is_nobodys(installed: Path) -> None:
    install(installed, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=ADAPTER)
    install(installed, "other_pay", entries={"acme": "other_pay:ADAPTER"}, code=ADAPTER)

    with pytest.raises(UnknownGatewayError, match="acme_pay, other_pay"):
        gateway_adapters.adapter("acme")


def test_a_name_of_ours_is_not_taken_by_another_package(installed: Path) -> None:
    install(installed, "acme_pay", entries={"contract": "acme_pay:ADAPTER"}, code=ADAPTER)

    assert read_settings(RIGHT).gateways["contract"].address == RIGHT["CAAS_GATEWAY_URL"]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("acme_pay:NOTHING", "'acme' of the package acme_pay cannot be imported"),
        ("no_such_module:ADAPTER", "'acme' of the package acme_pay cannot be imported"),
        ("acme_pay:SOMETHING_ELSE", "'acme' of the package acme_pay is no GatewayAdapter"),
    ],
)
def test_an_entry_point_that_leads_to_no_adapter_says_so(
    installed: Path, value: str, sentence: str
) -> None:
    install(installed, "acme_pay", entries={"acme": value}, code=ADAPTER)

    with pytest.raises(SettingError, match=sentence):
        read_settings(RIGHT | {"CAAS_GATEWAY": "acme"})


def test_an_adapter_that_refuses_its_settings_ends_no_other_check(installed: Path) -> None:
    code = (
        "from caas.errors import StartupError\n"
        "from caas.external_systems.gateway_adapters import GatewayAdapter\n"
        "def configure(environment):\n    raise StartupError('ACME_REGION is on the moon.')\n"
        "ADAPTER = GatewayAdapter(configure=configure)\n"
    )
    install(installed, "acme_pay", entries={"acme": "acme_pay:ADAPTER"}, code=code)

    with pytest.raises(SettingError) as caught:
        read_settings(RIGHT | {"CAAS_GATEWAY": "acme", "CAAS_PUBLIC_URL": "nonsense"})

    assert "ACME_REGION is on the moon. CAAS_PUBLIC_URL is not" in caught.value.sentence
