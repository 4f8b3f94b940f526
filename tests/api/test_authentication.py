"""Who may call what: keys, scopes, revocation, and the settings they come from."""

import asyncio
import hashlib
from uuid import uuid4

import asyncpg
import pytest

from caas.api import authentication
from caas.api.application import OPERATIONS
from caas.api.authentication import ConfiguredKey, parse_api_keys
from caas.billing_database.api_keys import ApiKeyNotFoundError, ApiKeys
from caas.errors import StartupError
from caas.rules.scopes import Scope
from tests.api.addresses import address
from tests.api.conftest import ADMIN_KEY, KEYS, Doors, key

BY_SCOPE = {
    Scope.ORDER_MANAGEMENT: "orders", Scope.SERVICE_CATALOG: "services", Scope.BILLING: "billing",
    Scope.OTA_ENGINE: "ota", Scope.WEBHOOK_HANDLER: "webhooks", Scope.OPERATIONS: "operators",
}  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer short",
        f"Basic {ADMIN_KEY}",
        ADMIN_KEY,
        f"Bearer {ADMIN_KEY}x",
        f"Bearer {ADMIN_KEY[:-1]}",
        f"Bearer {ADMIN_KEY}, Bearer {ADMIN_KEY}",
        f"Bearer {'z' * 43}",
        "Bearer " + "x" * 5000,
    ],
)
async def test_without_a_valid_key_every_call_is_refused_with_a_challenge(
    quiet_doors: Doors, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}

    answer = await quiet_doors.get("/v1/payments", caller=None, headers=headers)

    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ADMIN_KEY not in answer.body.decode()


async def test_every_call_that_needs_a_key_refuses_to_work_without_one(quiet_doors: Doors) -> None:
    for operation in OPERATIONS:
        if operation.needs_key:
            path = address(operation)
            answer = await quiet_doors.call(operation.method, path, caller=None)
            assert answer.status == 401, operation.id


async def test_every_call_needs_one_of_its_scopes_and_names_them(quiet_doors: Doors) -> None:
    for operation in OPERATIONS:
        for scope, caller in BY_SCOPE.items():
            if not operation.scopes or scope in operation.scopes:
                continue
            answer = await quiet_doors.call(
                operation.method, address(operation), caller=caller,
                headers={"idempotency-key": "x" * 16}, json={},
            )  # fmt: skip
            assert (answer.status, answer.json["code"]) == (403, "scope_missing"), operation.id
            assert any(needed in answer.json["detail"] for needed in operation.scopes)


async def test_a_key_with_the_scope_passes_and_so_does_one_with_every_scope(
    quiet_doors: Doors,
) -> None:
    for caller in ("services", "admin"):
        answer = await quiet_doors.post("/v1/payments/service", {}, caller=caller)
        assert (answer.status, answer.json["code"]) == (422, "invalid_body"), caller


async def test_an_unknown_address_tells_a_stranger_nothing(quiet_doors: Doors) -> None:
    stranger = await quiet_doors.get("/v1/nothing/here", caller=None)
    known = await quiet_doors.get("/v1/nothing/here")

    assert (stranger.status, known.status) == (401, 404)


async def test_a_revoked_key_stops_working_within_seconds(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED_SECONDS", 0.05)
    keys = ApiKeys(doors.installation.database)
    assert (await doors.get("/v1/payments", caller="billing")).status == 200

    assert await keys.revoke("billing") == 1

    async with asyncio.timeout(120):
        while (await doors.get("/v1/payments", caller="billing")).status == 200:
            await asyncio.sleep(0.01)
    assert (await doors.get("/v1/payments", caller="orders")).status == 200


async def test_a_revoked_key_stays_revoked_when_the_settings_still_list_it(doors: Doors) -> None:
    keys = ApiKeys(doors.installation.database)
    await keys.revoke("billing")

    await authentication.Authentication(keys).bootstrap(parse_api_keys(KEYS))

    assert await keys.find(hashlib.sha256(key("billing").encode()).digest()) is None
    with pytest.raises(ApiKeyNotFoundError):
        await keys.revoke("billing")


async def test_a_key_keeps_its_name_while_it_is_replaced(doors: Doors) -> None:
    keys = ApiKeys(doors.installation.database)
    newer = ConfiguredKey("billing", "n" * 43, frozenset({Scope.BILLING}))

    await authentication.Authentication(keys).bootstrap([newer])

    for secret in (key("billing"), "n" * 43):
        bearer = {"authorization": f"Bearer {secret}"}
        assert (await doors.get("/v1/payments", caller=None, headers=bearer)).status == 200
    assert [known.name for known in await keys.listed()].count("billing") == 2


async def test_only_the_digest_of_a_key_is_stored(doors: Doors) -> None:
    rows = await doors.installation.database.fetch(
        "select row_to_json(k)::text as row from api_keys k"
    )

    assert rows
    assert not any(ADMIN_KEY in row["row"] or key("orders") in row["row"] for row in rows)


def test_the_settings_are_read_with_scopes_and_restrictions() -> None:
    customer = uuid4()
    one = f"web:service-catalog+order-management+customer={customer}:{'a' * 32}"
    other = f"madrid:order-management+dealership=Madrid:{'b' * 32}"

    web, madrid = parse_api_keys(f"{one}, {other}")

    assert web.scopes == {"service-catalog", "order-management"}
    assert (web.customer, web.dealership) == (customer, None)
    assert (madrid.name, madrid.dealership, madrid.key) == ("madrid", "Madrid", "b" * 32)
    assert parse_api_keys("") == ()


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("nonsense", "name:scope+scope:key"),
        ("with blank:any:" + "x" * 32, "name:scope+scope:key"),
        ("web:any:short", "32 to 256"),
        ("web:any:" + "ñ" * 40, "32 to 256"),
        ("web:root:" + "x" * 32, "root is not a scope"),
        ("web::" + "x" * 32, "no scope"),
        ("web:customer=7:" + "x" * 32, "no scope"),
        ("web:any+customer=7:" + "x" * 32, "customer id"),
        ("web:any+vin=7:" + "x" * 32, "customer=<id> or dealership=<name>"),
    ],
)
def test_a_setting_that_is_wrong_stops_the_start_and_never_shows_the_key(
    text: str, stated: str
) -> None:
    with pytest.raises(StartupError, match="CAAS_API_KEYS, entry 1") as refused:
        parse_api_keys(text)

    assert stated in refused.value.sentence
    assert "xxxx" not in refused.value.sentence


def test_a_configured_key_does_not_show_itself() -> None:
    assert "a" * 32 not in repr(parse_api_keys("web:any:" + "a" * 32))


async def test_a_key_of_the_settings_keeps_its_scopes_for_ever(doors: Doors) -> None:
    """The settings could widen a key that was known already; they make another one."""
    keys = ApiKeys(doors.installation.database)
    digest = hashlib.sha256(b"a key of this test alone").digest()
    await keys.put(key_hash=digest, name="shop", scopes=frozenset({"billing"}))

    with pytest.raises(StartupError, match="cannot be changed"):
        await keys.put(key_hash=digest, name="shop", scopes=frozenset({"any"}))
    with pytest.raises(StartupError, match="cannot be changed"):
        await keys.put(
            key_hash=digest, name="shop", scopes=frozenset({"billing"}), dealership="Autos Sol"
        )
    await keys.put(key_hash=digest, name="shop-of-2027", scopes=frozenset({"billing"}))

    found = await keys.find(digest)
    assert found is not None
    assert (found.name, found.scopes) == ("shop-of-2027", frozenset({"billing"}))


@pytest.mark.parametrize(
    "change",
    [
        "scopes = array['any']", "dealership = 'Autos Sol'", "customer = gen_random_uuid()",
        "revoked_at = null", "revoked_at = now() - interval '1 day'",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", ["caas_app", "none"])
async def test_neither_the_application_nor_the_owner_changes_what_a_key_may_do(
    doors: Doors, change: str, role: str
) -> None:
    keys = ApiKeys(doors.installation.database)
    digest = hashlib.sha256(b"a key of this test alone").digest()
    await keys.put(key_hash=digest, name="shop", scopes=frozenset({"billing"}))
    await keys.revoke("shop")

    async with doors.installation.database.connection() as session:
        await session.execute(f"set role {role}")
        try:
            with pytest.raises(asyncpg.CheckViolationError):
                await session.execute(
                    f"update caas.api_keys set {change} where key_hash = $1", digest
                )
        finally:
            await session.execute("set role caas_app")
