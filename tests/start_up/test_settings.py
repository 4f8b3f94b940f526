"""Each CAAS_ variable missing and malformed: one sentence that names it, exit status 3."""

from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from caas import process_environment
from caas.errors import StartupError
from caas.external_systems.seed_contract_gateway import CAPABILITIES
from caas.rules.money import Money
from caas.setting_values import SettingError
from caas.settings import read_settings
from tests.cars import COMMAND_KEY
from tests.start_up.conftest import API_KEY, OUR_KEY, WEBHOOK_SECRET, Machine
from tests.ways_in import SETTINGS as WAYS_IN

SECRET_PART = "hunter2hunter2"
RIGHT = {
    "CAAS_DATABASE_URL": "postgresql://caas:pw@db:5432/caas",
    "CAAS_GATEWAY_URL": "https://gateway.example",
    "CAAS_GATEWAY_API_KEY": API_KEY,
    "CAAS_GATEWAY_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    "CAAS_PARTNER_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    "CAAS_VEHICLE_COMMAND_KEYS": COMMAND_KEY,
    **WAYS_IN,
    "CAAS_MQTT_URL": "mqtts://caas:pw@broker:8883",
    "CAAS_FACTORY_URL": "https://factory.example",
    "CAAS_REGISTRATION_URL": "https://registration.example",
    "CAAS_TRANSPORT_URL": "https://transport.example",
    "CAAS_PUBLIC_URL": "https://caas.example",
    "CAAS_API_KEYS": f"operators:operations:{OUR_KEY}",
}
ADDRESSES = [name for name in RIGHT if name.endswith("_URL")]
WEB_ADDRESSES = [name for name in ADDRESSES if RIGHT[name].startswith("https")]
NO_ADDRESSES = (
    "nonsense", "ftp://host", "://", "http://", f"https://host:{SECRET_PART}", "http://host:99999",
    f"postgresql://caas:{SECRET_PART}/x@host/db", f"mqtt://u:{SECRET_PART}@host:port", "http://[::1",
    "http://ho st", "http://host\r\nX-Other: 1", "javascript:alert(1)", "file:///etc/passwd",
)  # fmt: skip
OTHERS = [
    ("CAAS_GATEWAY_API_KEY", f"{SECRET_PART} with a space"),
    ("CAAS_GATEWAY_API_KEY", f"{SECRET_PART}\r\nX-Other: 1"),
    ("CAAS_GATEWAY_WEBHOOK_SECRETS", SECRET_PART),
    ("CAAS_GATEWAY_WEBHOOK_SECRETS", f"{WEBHOOK_SECRET},"),
    ("CAAS_GATEWAY_WEBHOOK_SECRETS", ",".join([WEBHOOK_SECRET] * 50)),
    ("CAAS_PARTNER_WEBHOOK_SECRETS", "whsec_dG9vIHNob3J0"),
    ("CAAS_VEHICLE_COMMAND_KEYS", SECRET_PART),
    ("CAAS_VEHICLE_COMMAND_KEYS", f"{COMMAND_KEY},"),
    ("CAAS_VEHICLE_COMMAND_KEYS", f"{COMMAND_KEY},{COMMAND_KEY}"),
    ("CAAS_VEHICLE_COMMAND_KEYS", b64encode(SECRET_PART.encode()).decode()),
    ("CAAS_VEHICLE_COMMAND_KEYS", ",".join(b64encode(bytes([n]) * 32).decode() for n in range(9))),
    ("CAAS_SIGN_IN_KEYS", SECRET_PART),
    ("CAAS_SIGN_IN_KEYS", f"{COMMAND_KEY},{COMMAND_KEY}"),
    ("CAAS_FACTORY_TOKEN", f"{SECRET_PART} with a space"),
    ("CAAS_TRANSPORT_CLIENT_CERTIFICATE", f"/nowhere/{SECRET_PART}.pem"),
    ("CAAS_SECOND_FACTOR", "off"),
    ("CAAS_STRONG_DATABASE_LOGIN", "yes"),
    ("CAAS_LOCAL_SUBSCRIBERS", "yes"),
    ("CAAS_GATEWAY", "paypal"),
    ("CAAS_GATEWAY_KEY_LIFETIME", "never"),
    ("CAAS_GATEWAY_KEY_LIFETIME", "24"),
    ("CAAS_GATEWAY_KEY_LIFETIME", "0h"),
    ("CAAS_GATEWAY_AUTHORIZATION_LIFETIME", "none"),
    ("CAAS_GATEWAY_AUTHORIZATION_LIFETIME", "1 week"),
    ("CAAS_GATEWAY_CURRENCIES", "EUR=0.50"),
    ("CAAS_GATEWAY_CURRENCIES", "EUR,EUR=50"),
    ("CAAS_GATEWAY_CURRENCIES", "XXX"),
    ("CAAS_GATEWAY_AMOUNT_MAX", "1e6"),
    ("CAAS_GATEWAY_AMOUNT_MAX", "0"),
    ("CAAS_GATEWAY_LOOKUP_BY_REFERENCE", "maybe"),
    ("CAAS_GATEWAY_VOID", "true"),
    ("CAAS_GATEWAY_SEPARATE_CAPTURE", "1"),
    ("CAAS_GATEWAY_PARTIAL_CAPTURE", "No"),
    ("CAAS_API_KEYS", ",,,"),
    ("CAAS_API_KEYS", f"operators:operations:{SECRET_PART}"),
    ("CAAS_API_KEYS", f"operators:everything:{OUR_KEY}"),
    ("CAAS_API_KEYS", f"operators:operations+customer=nobody:{OUR_KEY}"),
    ("CAAS_API_KEYS", f"operators:operations+city=Madrid:{OUR_KEY}"),
    ("CAAS_API_KEYS", OUR_KEY),
    ("CAAS_ENGINE_URL", "https://spark"),
    ("CAAS_SETTLEMENT_FEES", "14,25"),
    ("CAAS_NOTIFY_URL", f"{SECRET_PART} with a space"),
    ("CAAS_SELLER", "Coches S.L.;ESB58378431;Calle 1;28014;Madrid;ES"),
    ("CAAS_SELLER", "Coches S.L.;ESB58378432;Calle 1;28014;Madrid;ES;By card"),
    ("CAAS_SELLER", "Coches S.L.;B58378431;Calle 1;28014;Madrid;Spain;By card"),
    ("CAAS_MARKET", "Europe/Madrid"),
    ("CAAS_MARKET", "Europe/Madrid,euro,es"),
    ("CAAS_MARKET", "Europe/Madrid,EUR,tlh"),
    ("CAAS_MARKET", "Mars/Olympus,EUR,es"),
    ("CAAS_MARKET", "../../etc/passwd,EUR,es"),
    ("CAAS_MARKET", "/etc/passwd,EUR,es"),
    *(
        ("CAAS_TIME_SCALE", nonsense)
        for nonsense in ("0", "-1", "nan", "inf", "-inf", "fast", "1e300", "1e-300", "1,5", "0x10")
    ),
]


def test_the_right_settings_are_read() -> None:
    assert read_settings(RIGHT).time_scale == 1


def test_a_gateway_of_the_contract_is_as_its_settings_declare_it() -> None:
    """Before, every gateway of the contract was believed to keep keys for a day."""
    declared = {
        "CAAS_GATEWAY_KEY_LIFETIME": "none",
        "CAAS_GATEWAY_AUTHORIZATION_LIFETIME": "90m",
        "CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "no",
        "CAAS_GATEWAY_VOID": "no",
        "CAAS_GATEWAY_SEPARATE_CAPTURE": "no",
        "CAAS_GATEWAY_PARTIAL_CAPTURE": "no",
    }

    stated = read_settings(RIGHT | declared).gateways["contract"].capabilities

    assert stated == replace(
        CAPABILITIES, idempotency_key_lifetime=None, authorization_lifetime=timedelta(minutes=90),
        lookup_by_reference=False, void=False, separate_capture=False, partial_capture=False,
    )  # fmt: skip
    assert read_settings(RIGHT).gateways["contract"].capabilities == CAPABILITIES
    longer = read_settings(RIGHT | {"CAAS_GATEWAY_KEY_LIFETIME": "2d"}).gateways["contract"]
    assert longer.capabilities.idempotency_key_lifetime == timedelta(days=2)


def test_a_gateway_of_the_contract_takes_the_amounts_that_its_settings_declare() -> None:
    declared = {"CAAS_GATEWAY_CURRENCIES": "EUR=50, JPY", "CAAS_GATEWAY_AMOUNT_MAX": "99999999"}

    amounts = read_settings(RIGHT | declared).gateways["contract"].capabilities.amounts

    assert [amounts.take(Money(it, "EUR")) for it in (49, 50, 99_999_999, 100_000_000)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert amounts.take(Money(1, "JPY"))
    assert not amounts.take_currency("USD")


def test_an_adapter_that_knows_its_gateway_is_not_told_what_it_can_do() -> None:
    stripe = {"CAAS_GATEWAY": "stripe", "CAAS_GATEWAY_WEBHOOK_SECRETS": "whsec_of-an-endpoint-00"}

    assert tuple(read_settings(RIGHT | stripe).gateways) == ("stripe",)
    with pytest.raises(SettingError, match=r"^CAAS_GATEWAY_VOID declares"):
        read_settings(RIGHT | stripe | {"CAAS_GATEWAY_VOID": "no"})


@pytest.mark.parametrize(
    "named", [{}, {"CAAS_GATEWAY": "contract"}, {"CAAS_GATEWAY_ADAPTER": "contract"}]
)
def test_the_documented_contract_is_the_gateway_unless_another_is_named(
    named: dict[str, str],
) -> None:
    assert tuple(read_settings(RIGHT | named).gateways) == ("contract",)


STRIPE_SECRET = "whsec_of-an-endpoint-00"
OF_STRIPE = {
    "CAAS_GATEWAY_STRIPE_URL": "https://api.stripe.example",
    "CAAS_GATEWAY_STRIPE_API_KEY": "sk_test_1",
    "CAAS_GATEWAY_STRIPE_WEBHOOK_SECRETS": STRIPE_SECRET,
}
OF_CONTRACT = {
    name.replace("CAAS_GATEWAY_", "CAAS_GATEWAY_CONTRACT_"): value
    for name, value in RIGHT.items()
    if name.startswith("CAAS_GATEWAY_")
}


def test_a_kept_gateway_has_settings_of_its_own() -> None:
    gateways = read_settings(RIGHT | OF_STRIPE | {"CAAS_GATEWAYS_KEPT": "stripe"}).gateways

    addresses = {name: it.address for name, it in gateways.items()}
    assert addresses == {
        "contract": "https://gateway.example",
        "stripe": "https://api.stripe.example",
    }


def test_the_gateways_are_swapped_by_their_names_alone() -> None:
    both = RIGHT | OF_STRIPE | OF_CONTRACT

    before = read_settings(both | {"CAAS_GATEWAYS_KEPT": "stripe"}).gateways
    after = read_settings(
        both | {"CAAS_GATEWAY": "stripe", "CAAS_GATEWAYS_KEPT": "contract"}
    ).gateways

    assert (tuple(before), tuple(after)) == (("contract", "stripe"), ("stripe", "contract"))
    assert {name: it.address for name, it in before.items()} == {
        name: it.address for name, it in after.items()
    }


def test_what_a_kept_gateway_lacks_is_named_by_its_own_settings() -> None:
    """The settings without a name are those of the other gateway, and are not taken for it."""
    with pytest.raises(SettingError) as caught:
        read_settings(RIGHT | {"CAAS_GATEWAYS_KEPT": "stripe"})

    assert caught.value.sentence.startswith(
        "CAAS_GATEWAY_STRIPE_URL, CAAS_GATEWAY_STRIPE_API_KEY and "
        "CAAS_GATEWAY_STRIPE_WEBHOOK_SECRETS are not set."
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CAAS_GATEWAY_STRIPE_URL": "nonsense"}, "CAAS_GATEWAY_STRIPE_URL is not a valid address"),
        ({"CAAS_GATEWAY_STRIPE_VOID": "no"}, "CAAS_GATEWAY_STRIPE_VOID declares a capability"),
        ({"CAAS_GATEWAYS_KEPT": "stripe,paypal"}, "CAAS_GATEWAYS_KEPT is 'paypal'; use one of"),
    ],
)
def test_a_wrong_setting_of_a_kept_gateway_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        read_settings(RIGHT | OF_STRIPE | {"CAAS_GATEWAYS_KEPT": "stripe"} | given)


def test_new_payments_are_routed_by_market_and_have_a_fallback() -> None:
    routes = read_settings(
        RIGHT | OF_STRIPE
        | {"CAAS_GATEWAYS_KEPT": "stripe", "CAAS_GATEWAYS_FALLBACK": "stripe",
           "CAAS_GATEWAYS_BY_MARKET": " PT = stripe, ES-CN=contract "}
    ).gateway_routes  # fmt: skip

    assert routes.by_market == {"PT": "stripe", "ES-CN": "contract"}
    assert routes.fallback == "stripe"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CAAS_GATEWAYS_FALLBACK": "stripe"}, "CAAS_GATEWAYS_FALLBACK names the gateway 'stripe'"),
        ({"CAAS_GATEWAYS_BY_MARKET": "PT=adyen"}, "CAAS_GATEWAYS_BY_MARKET names the gateway"),
        ({"CAAS_GATEWAYS_BY_MARKET": "PT"}, "must name .* 'ES=stripe,PT=adyen', not 'PT'"),
        ({"CAAS_GATEWAYS_BY_MARKET": "PT="}, "must name .* 'ES=stripe,PT=adyen', not 'PT='"),
        ({"CAAS_GATEWAYS_BY_MARKET": "PT=stripe=adyen"}, "must name .* not 'PT=stripe=adyen'"),
        ({"CAAS_GATEWAYS_BY_MARKET": "=contract"}, "must name each market once"),
        ({"CAAS_GATEWAYS_BY_MARKET": "PT=contract,PT=contract"}, "must name each market once"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        read_settings(RIGHT | given)


def test_no_secret_shows_when_settings_are_printed() -> None:
    secrets = (API_KEY, WEBHOOK_SECRET, COMMAND_KEY, OUR_KEY, "caas:pw@")

    printed = repr(read_settings(RIGHT | {"CAAS_NOTIFY_URL": "mailtos://me:pw@host"}))

    assert [secret for secret in (*secrets, "me:pw") if secret in printed] == []


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("given", [None, "", "  "])
def test_a_missing_setting_is_named(name: str, given: str | None) -> None:
    others = {other: value for other, value in RIGHT.items() if other != name}
    settings = others if given is None else {**others, name: given}

    with pytest.raises(SettingError, match=f"^{name} is not set") as refused:
        read_settings(settings)

    assert refused.value.sentence.endswith(".")


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("name", ADDRESSES)
def test_what_is_no_address_is_named_but_not_repeated(name: str, address: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} ") as refused:
        read_settings({**RIGHT, name: address})

    assert SECRET_PART not in refused.value.sentence


@pytest.mark.parametrize("more", ["?key=1", "#part"])
@pytest.mark.parametrize("name", WEB_ADDRESSES)
def test_an_address_of_the_web_is_plain(name: str, more: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} "):
        read_settings({**RIGHT, name: RIGHT[name] + more})


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_a_malformed_setting_is_named_but_no_secret_repeated(name: str, value: str) -> None:
    with pytest.raises(StartupError, match=f"^{name}[ ,]") as refused:
        read_settings({**RIGHT, name: value})

    assert SECRET_PART not in refused.value.sentence
    assert OUR_KEY not in refused.value.sentence


def test_everything_that_is_missing_or_wrong_is_told_at_once() -> None:
    """Whoever mended one setting was told of the next."""
    wrong = {"CAAS_MARKET": "Mars/Olympus,EUR,es", "CAAS_TIME_SCALE": "fast"}
    given = {name: value for name, value in RIGHT.items() if name != "CAAS_FACTORY_URL"}

    with pytest.raises(SettingError) as refused:
        read_settings({**given, **wrong, "CAAS_API_KEYS": ""})

    for word in ("CAAS_FACTORY_URL and CAAS_API_KEYS are not set", "Mars/Olympus", "'fast'"):
        assert word in refused.value.sentence


def test_several_hosts_of_one_database_may_be_named() -> None:
    several = "postgresql://caas:pw@one:5432,two:5433/caas"

    assert read_settings(RIGHT | {"CAAS_DATABASE_URL": several}).database_url == several


def test_cars_in_this_process_are_never_a_default() -> None:
    """`serve` without CAAS_MQTT_URL charged customers for simulated cars."""
    without = {name: value for name, value in RIGHT.items() if name != "CAAS_MQTT_URL"}

    with pytest.raises(SettingError, match=r"^CAAS_MQTT_URL is not set"):
        read_settings(without)


def test_an_unreadable_environment_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"CAAS_MARKET=\xff\xfe\n")

    with pytest.raises(StartupError, match="UTF-8"):
        process_environment.environment(file)


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_without_any_setting_a_program_says_which_it_needs(
    machine: Machine, command: str
) -> None:
    ended = await machine.runs(command)

    ended.refused("CAAS_DATABASE_URL", "CAAS_API_KEYS are not set", "caas up")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CAAS_GATEWAY_API_KEY", "with a space"),
        ("CAAS_NOTIFY_URL", f"carrier-pigeon://me:{SECRET_PART}@host"),
        ("CAAS_MARKET", "Mars/Olympus,EUR,es"),
        ("CAAS_TIME_SCALE", "fast"),
        ("CAAS_DATABASE_URL", "mysql://host/db"),
    ],
)
async def test_a_malformed_setting_ends_the_program(
    machine: Machine, settings: dict[str, str], name: str, value: str
) -> None:
    ended = await machine.runs("serve", **settings | {name: value})

    ended.refused(name)
    assert SECRET_PART not in ended.stated


@pytest.mark.parametrize("command", ["migrate", "self-check", "verify"])
async def test_the_commands_beside_refuse_what_is_no_database(
    machine: Machine, command: str
) -> None:
    ended = await machine.runs(command, CAAS_DATABASE_URL=f"mysql://u:{SECRET_PART}@h/db")

    ended.refused("CAAS_DATABASE_URL")
    assert SECRET_PART not in ended.stated


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (
            {"CAAS_GATEWAY_KEY_LIFETIME": "none", "CAAS_GATEWAY_LOOKUP_BY_REFERENCE": "no"},
            ("reservation, final, service, subscription payment", "lookup by reference, or keys"),
        ),
        (
            {"CAAS_GATEWAY_SEPARATE_CAPTURE": "no"},
            ("service payment: it charges before", "subscription payment: the hold"),
        ),
        ({"CAAS_GATEWAY_VOID": "no"}, ("reservation, final, service", "needs void")),
        (
            {"CAAS_GATEWAY_AUTHORIZATION_LIFETIME": "30m"},
            ("service payment: funds are held for 0.5 h only",),
        ),
    ],
)
async def test_a_gateway_that_cannot_do_a_payment_type_is_refused_at_the_start(
    machine: Machine, settings: dict[str, str], declared: dict[str, str], words: tuple[str, ...]
) -> None:
    ended = await machine.runs("serve", **settings | declared)

    ended.refused("cannot be used safely", "CAAS_GATEWAY_", *words)
