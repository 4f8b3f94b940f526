"""An unreachable or wrong database, broker or gateway: one sentence, exit status 3.

Before, `serve` started with a broker that refused its password, or with no gateway at all, and the
first customer found out.
"""

import asyncio
import signal
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.databases import as_service
from tests.ports import free_port
from tests.start_up.conftest import OUR_KEY, Machine, answering

HTTP_404 = (
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nContent-Type: text/plain\r\n\r\nnot here\n"
)
HTTP_503 = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
NO_TLS = b"N"
WANTS_A_PASSWORD = b"R\x00\x00\x00\x08\x00\x00\x00\x03"
WRONG_PASSWORD = (
    b"E\x00\x00\x00\x42SFATAL\0C28P01\0Mpassword authentication failed for user caas\0\0\0"
)
PASSWORD = "hunter2hunter2"


async def test_with_everything_right_the_platform_serves_and_ends_in_order(
    machine: Machine, settings: dict[str, str]
) -> None:
    port = free_port()
    program = await machine.starts("serve", "--port", str(port), **settings)
    await until_it_listens(port)

    program.process.terminate()
    ended = await program.ended()

    assert ended.status == 0, ended.stated
    assert "Traceback" not in ended.stated
    assert not ended.left
    assert OUR_KEY not in ended.stated


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_jobs_ends_in_order(
    machine: Machine, settings: dict[str, str], number: signal.Signals
) -> None:
    program = await machine.starts("work", **settings)
    assert program.process.stderr is not None
    await program.process.stderr.readuntil(b"vehicle_link.connected")

    program.process.send_signal(number)
    ended = await program.ended()

    assert ended.status == 0, ended.stated
    assert "Traceback" not in ended.stated


NEVER_UNWINDS = """
import asyncio
from caas.cli import commands

async def work():
    commands.stop_on_sigterm()
    print("works", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(600)

commands.UNWIND_SECONDS_MAX = 0.1
commands.run_command(work())
"""


async def test_a_program_that_cannot_unwind_ends_all_the_same() -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NEVER_UNWINDS,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    await program.stdout.readline()

    program.terminate()
    async with asyncio.timeout(60):
        _, stated = await program.communicate()

    assert program.returncode == 130
    assert stated.decode().startswith("caas: Shutdown took more than")


async def until_it_listens(port: int) -> None:
    """Wait until somebody listens there."""
    async with asyncio.timeout(120):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def test_nobody_listens_where_the_database_should_be(
    machine: Machine, settings: dict[str, str]
) -> None:
    address = f"postgresql://caas:{PASSWORD}@127.0.0.1:{free_port()}/caas?password={PASSWORD}"

    ended = await machine.runs("serve", **settings | {"CAAS_DATABASE_URL": address})

    ended.refused("Billing Database", "CAAS_DATABASE_URL")
    assert PASSWORD not in ended.stated


async def test_the_database_does_not_take_the_password(
    machine: Machine, settings: dict[str, str]
) -> None:
    async with answering(NO_TLS, WANTS_A_PASSWORD, WRONG_PASSWORD) as port:
        address = f"postgresql://caas:{PASSWORD}@127.0.0.1:{port}/caas"
        ended = await machine.runs("serve", **settings | {"CAAS_DATABASE_URL": address})

    ended.refused("Billing Database", "password authentication failed", "CAAS_DATABASE_URL")
    assert PASSWORD not in ended.stated


@pytest.mark.parametrize("answers", [(HTTP_404,), ()], ids=["a web server", "silence"])
async def test_what_listens_where_the_database_should_be_is_no_postgresql(
    machine: Machine, settings: dict[str, str], answers: tuple[bytes, ...]
) -> None:
    async with answering(*answers) as port:
        address = f"postgresql://caas:{PASSWORD}@127.0.0.1:{port}/caas"
        ended = await machine.runs("serve", **settings | {"CAAS_DATABASE_URL": address})

    ended.refused("Billing Database", "CAAS_DATABASE_URL")
    assert PASSWORD not in ended.stated


async def test_there_is_no_database_of_this_name(
    machine: Machine, settings: dict[str, str], database_dsn: str
) -> None:
    address = as_service(database_dsn.replace("/caas_", "/another_"))

    ended = await machine.runs("serve", **settings | {"CAAS_DATABASE_URL": address})

    ended.refused("does not exist", "CAAS_DATABASE_URL")


async def execute(dsn: str, statement: str) -> None:
    """Run a statement as the owner."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_database_newer_than_the_program_is_left_alone(
    machine: Machine, settings: dict[str, str], database_dsn: str, command: str
) -> None:
    await execute(
        database_dsn,
        "insert into caas.migrations (name, checksum) values ('9999_of_tomorrow.sql', 'x')",
    )

    ended = await machine.runs(command, **settings)

    ended.refused("Another version of this program made", "9999_of_tomorrow.sql")


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_missing_migration_is_named(
    machine: Machine, settings: dict[str, str], database_dsn: str, command: str
) -> None:
    await execute(
        database_dsn,
        "delete from caas.migrations where name = (select max(name) from caas.migrations)",
    )

    ended = await machine.runs(command, **settings)

    ended.refused("lacks 1 migration", "caas migrate")


async def test_a_migration_changed_after_it_ran_is_named(
    machine: Machine, settings: dict[str, str], database_dsn: str
) -> None:
    await execute(database_dsn, "update caas.migrations set checksum = 'other'")

    ended = await machine.runs("serve", **settings)

    ended.refused("was changed after it was applied")


async def test_a_database_that_was_never_migrated_is_told_so(
    machine: Machine, settings: dict[str, str], server_dsn: str
) -> None:
    ended = await machine.runs("serve", **settings | {"CAAS_DATABASE_URL": server_dsn})

    ended.refused("caas migrate")


async def test_a_user_who_may_not_make_tables_cannot_migrate(
    machine: Machine, server_dsn: str
) -> None:
    await execute(
        server_dsn,
        "do $$ begin create role nobody_much login;"
        " exception when duplicate_object then null; end $$",
    )
    address = server_dsn.replace(urlsplit(server_dsn).netloc, "nobody_much@", 1)

    ended = await machine.runs("migrate", CAAS_DATABASE_URL=address)

    ended.refused("permission denied", "CAAS_DATABASE_URL")


def wrong_password(url: str) -> str:
    """The broker's address with another password."""
    user, _, rest = url.removeprefix("mqtt://").partition(":")
    return f"mqtt://{user}:{PASSWORD}@{rest.partition('@')[2]}"


@pytest.mark.parametrize(
    "wrong",
    [wrong_password, lambda _: f"mqtt://caas:{PASSWORD}@127.0.0.1:{free_port()}"],
    ids=["password", "port"],
)
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_wrong_broker_is_found_out_at_the_start(
    machine: Machine, settings: dict[str, str], command: str, wrong: Callable[[str], str]
) -> None:
    broker = wrong(settings["CAAS_MQTT_URL"])

    ended = await machine.runs(command, **settings | {"CAAS_MQTT_URL": broker})

    ended.refused("broker", "CAAS_MQTT_URL")
    assert PASSWORD not in ended.stated


@pytest.mark.parametrize("answers", [(HTTP_404,), ()], ids=["a web server", "silence"])
async def test_what_listens_where_the_broker_should_be_is_no_broker(
    machine: Machine, settings: dict[str, str], answers: tuple[bytes, ...]
) -> None:
    async with answering(*answers) as port:
        broker = f"mqtt://127.0.0.1:{port}"
        ended = await machine.runs("serve", **settings | {"CAAS_MQTT_URL": broker})

    ended.refused("broker", "CAAS_MQTT_URL")


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_nobody_listens_where_the_gateway_should_be(
    machine: Machine, settings: dict[str, str], command: str
) -> None:
    gateway = f"http://127.0.0.1:{free_port()}"

    ended = await machine.runs(command, **settings | {"CAAS_GATEWAY_URL": gateway})

    ended.refused("payment gateway", "no response", "CAAS_GATEWAY_URL")


async def test_the_gateway_does_not_take_the_key(
    machine: Machine, settings: dict[str, str]
) -> None:
    ended = await machine.runs("serve", **settings | {"CAAS_GATEWAY_API_KEY": PASSWORD})

    ended.refused("rejects our key", "CAAS_GATEWAY_API_KEY")
    assert PASSWORD not in ended.stated


@pytest.mark.parametrize("answers", [(HTTP_404,), (b"SSH-2.0-x\r\n",), ()],
                         ids=["another web server", "no web server", "silence"])  # fmt: skip
async def test_what_listens_where_the_gateway_should_be_is_no_gateway(
    machine: Machine, settings: dict[str, str], answers: tuple[bytes, ...]
) -> None:
    async with answering(*answers) as port:
        gateway = f"http://127.0.0.1:{port}"
        ended = await machine.runs("serve", **settings | {"CAAS_GATEWAY_URL": gateway})

    ended.refused("payment gateway", "CAAS_GATEWAY_URL")


async def test_a_gateway_that_is_unwell_for_a_moment_does_not_keep_jobs_from_going_on(
    machine: Machine, settings: dict[str, str]
) -> None:
    port = free_port()
    async with answering(*[HTTP_503] * 9) as gateway:
        more = {"CAAS_GATEWAY_URL": f"http://127.0.0.1:{gateway}"}
        program = await machine.starts("serve", "--port", str(port), **settings | more)
        await until_it_listens(port)
        program.process.terminate()
        ended = await program.ended()

    assert "gateway.unavailable_at_start" in ended.err


async def test_a_port_in_use_is_named(machine: Machine, settings: dict[str, str]) -> None:
    async with answering() as port:
        ended = await machine.runs("serve", "--port", str(port), **settings)

    ended.refused(f"Port {port}", "--port")


@pytest.mark.parametrize("port", ["99999", "-1"])
async def test_a_port_that_cannot_be_is_refused(
    machine: Machine, settings: dict[str, str], port: str
) -> None:
    ended = await machine.runs("serve", "--port", port, **settings)

    assert (ended.status, ended.out) == (2, "")
    assert "--port" in ended.err
    assert not ended.left


async def test_a_host_that_is_not_ours_is_named(machine: Machine, settings: dict[str, str]) -> None:
    ended = await machine.runs("serve", "--host", "no.such.host.invalid", **settings)

    ended.refused("no.such.host.invalid")


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_login_that_could_undo_the_guards_is_refused_unless_it_is_development(
    machine: Machine, settings: dict[str, str], database_dsn: str, command: str
) -> None:
    """`reset role` gave a superuser back what `set role caas_app` had taken; it was a warning."""
    strong = {**settings, "CAAS_DATABASE_URL": database_dsn}

    refused = await machine.runs(command, **strong)
    allowed = await machine.starts(command, **strong, CAAS_STRONG_DATABASE_LOGIN="allowed")
    assert allowed.process.stderr is not None
    await allowed.process.stderr.readuntil(b"database.login_too_strong")
    allowed.process.terminate()
    ended = await allowed.ended()

    refused.refused("the login 'caas' is a superuser", "CAAS_DATABASE_URL", "caas_app")
    assert ended.status == 0, ended.stated


async def test_a_key_of_the_settings_with_other_scopes_than_before_ends_the_start(
    machine: Machine, settings: dict[str, str]
) -> None:
    port = str(free_port())
    program = await machine.starts("serve", "--port", port, **settings)
    await until_it_listens(int(port))
    program.process.terminate()
    await program.ended()

    wider = {**settings, "CAAS_API_KEYS": f"operators:any:{OUR_KEY}"}
    ended = await machine.runs("serve", "--port", str(free_port()), **wider)

    ended.refused("CAAS_API_KEYS", "'operators'", "cannot be changed")
    assert OUR_KEY not in ended.stated


KEYS_ARE_AWAITED = """
select from pg_locks where relation = 'caas.api_keys'::regclass and not granted
"""


async def test_nobody_can_connect_before_the_keys_of_the_settings_are_stored(
    machine: Machine, settings: dict[str, str], database_dsn: str
) -> None:
    """A balancer that only looks for a port sent requests to a process that then refused to start.

    A test that stopped such a process when its port answered found no key stored.
    """
    port = free_port()
    owner = await asyncpg.connect(database_dsn)
    async with owner.transaction():
        await owner.execute("lock table caas.api_keys in access exclusive mode")
        program = await machine.starts("serve", "--port", str(port), **settings)
        async with asyncio.timeout(60):
            while not await owner.fetch(KEYS_ARE_AWAITED):
                await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    await owner.close()
    await until_it_listens(port)
    program.process.terminate()
    ended = await program.ended()

    assert ended.status == 0, ended.stated
