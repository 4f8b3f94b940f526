"""The embedded PostgreSQL: shared by its users, gone with the last one, whole after kill -9.

Every test runs real servers in folders of its own; none uses the server of the other tests.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from caas.billing_database import embedded_postgresql_files as files
from caas.billing_database.connection import UNREACHABLE
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql, program, psql_command
from caas.errors import StartupError

USER_PROGRAM = """
import asyncio, pathlib, sys
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
async def main():
    print(await EmbeddedPostgresql().start(pathlib.Path(sys.argv[1])), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
LOSING_PROGRAM = """
import asyncio, os, pathlib, signal, sys
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
async def main():
    server = EmbeddedPostgresql()
    await server.start(pathlib.Path(sys.argv[1]))
    pid = int(pathlib.Path(sys.argv[1], "postgresql/postmaster.pid").read_text().split()[0])
    told = [server.is_kept()]
    os.kill(int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), 9)
    while server.is_kept():
        await asyncio.sleep(0.01)
    told.append(server.is_kept())
    await server.keep_again()
    print(*told, server.is_kept(), pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
NOBODY = 65534
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that any user of the system can walk to, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="caas-test-") as folder:
        yield Path(folder) / "data"


@pytest.fixture
async def postgresql() -> AsyncIterator[EmbeddedPostgresql]:
    """A user of the server that leaves it, whatever the test does."""
    user = EmbeddedPostgresql()
    yield user
    await user.stop()


@pytest.fixture
def adopted() -> Iterator[None]:
    """Make this process the parent of its orphaned grandchildren, as init does in a container."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


async def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    first, second = EmbeddedPostgresql(), EmbeddedPostgresql()

    await execute(await first.start(data_dir), "create table kept (id int)")
    await first.stop()
    await execute(await second.start(data_dir), "select * from kept")
    await second.stop()

    assert not (data_dir / "postgresql" / "postmaster.pid").exists()


async def test_commits_are_on_the_disk_before_they_are_answered(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    dsn = await postgresql.start(data_dir)

    settings = {name: await value(dsn, f"show {name}") for name in ("fsync", "synchronous_commit")}

    assert settings == {"fsync": "on", "synchronous_commit": "on"}


async def test_nobody_gets_in_but_through_a_closed_folder(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    dsn = await postgresql.start(data_dir)

    folder = Path(await value(dsn, "show unix_socket_directories"))

    assert folder.stat().st_mode & 0o077 == 0
    assert await value(dsn, "show listen_addresses") == ""


async def test_a_second_user_joins_and_the_server_outlives_the_first(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    first = EmbeddedPostgresql()

    dsn = await first.start(data_dir)
    assert await postgresql.start(data_dir) == dsn
    await first.stop()

    assert await value(dsn, "select 'still here'") == "still here"


async def test_users_that_start_at_the_same_moment_share_one_server(data_dir: Path) -> None:
    users = [EmbeddedPostgresql() for _ in range(4)]

    dsns = await asyncio.gather(*(user.start(data_dir) for user in users))
    pids = {await value(dsn, "select pg_postmaster_start_time()::text") for dsn in dsns}
    await asyncio.gather(*(user.stop() for user in users))

    assert len(pids) == 1
    assert not (data_dir / "postgresql" / "postmaster.pid").exists()


async def test_no_server_is_left_when_its_only_user_is_killed(data_dir: Path) -> None:
    user = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USER_PROGRAM, data_dir, stdout=asyncio.subprocess.PIPE
    )
    assert user.stdout is not None
    await asyncio.wait_for(user.stdout.readline(), 60)

    user.kill()
    await user.wait()

    await gone(data_dir / "postgresql" / "postmaster.pid")


async def test_a_server_killed_in_the_middle_of_its_work_comes_back_with_every_commit(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    first = EmbeddedPostgresql()
    dsn = await first.start(data_dir)
    await execute(dsn, "create table kept as select 42 as answer")
    busy = asyncio.create_task(execute(dsn, "select sum(n) from generate_series(1, 1e8) as n"))
    await value(dsn, "select 1")

    killed = files.postmaster(data_dir / "postgresql").pid
    os.kill(killed, signal.SIGKILL)
    await gone(Path(f"/proc/{killed}"))
    dsn = await postgresql.start(data_dir)

    assert await value(dsn, "select answer::text from kept") == "42"
    await first.stop()
    with pytest.raises((asyncpg.PostgresError, *UNREACHABLE)):
        await busy


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.usefixtures("adopted")
async def test_a_killed_server_whose_keeper_was_killed_before_is_started_again(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    """It stays a zombie until its new parent asks after it; PostgreSQL took that for a server."""
    dsn = await postgresql.start(data_dir)
    await execute(dsn, "create table kept as select 42 as answer")
    server = files.postmaster(data_dir / "postgresql").pid
    os.kill(parent_of(server), signal.SIGKILL)
    await holds(lambda: parent_of(server) == os.getpid())
    os.kill(server, signal.SIGKILL)
    await state_is(server, "Z")

    await postgresql.start_again()

    assert await value(dsn, "select answer::text from kept") == "42"
    assert files.postmaster(data_dir / "postgresql").pid != server
    assert postgresql.is_kept()
    os.waitpid(server, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_server_that_lost_its_keeper_gets_another_that_stops_it_for_a_killed_user(
    data_dir: Path,
) -> None:
    """Nobody noticed, and the server would have outlived its last user."""
    user = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOSING_PROGRAM, data_dir, stdout=asyncio.subprocess.PIPE
    )
    assert user.stdout is not None
    reported = await asyncio.wait_for(user.stdout.readline(), 60)
    kept = data_dir / "postgresql" / "postmaster.pid"
    server = kept.read_text().split()[0]

    user.kill()
    await user.wait()

    assert reported.decode().split() == ["True", "False", "True", server]
    await gone(kept)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_server_that_was_stopped_for_a_while_is_kept(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    dsn = await postgresql.start(data_dir)
    server = files.postmaster(data_dir / "postgresql").pid
    keeper = parent_of(server)

    os.kill(server, signal.SIGSTOP)
    await state_is(server, "T")
    await heard_of_child(keeper)
    os.kill(server, signal.SIGCONT)

    assert await value(dsn, "select 'still here'") == "still here"
    assert Path(f"/proc/{keeper}").exists()
    assert files.postmaster(data_dir / "postgresql").pid == server


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_pid_that_another_process_has_got_does_not_keep_the_server_out(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    first = EmbeddedPostgresql()
    await first.start(data_dir)
    pid_file = data_dir / "postgresql" / "postmaster.pid"
    left_behind = pid_file.read_text().partition("\n")[2]
    await first.stop()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    pid_file.write_text(f"{stranger.pid}\n{left_behind}")

    dsn = await postgresql.start(data_dir)
    stranger.kill()
    await stranger.wait()

    assert await value(dsn, "select 'up'") == "up"


@pytest.mark.parametrize("owner", [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()])
async def test_the_server_runs_as_the_owner_of_its_database(
    postgresql: EmbeddedPostgresql, data_dir: Path, owner: int
) -> None:
    first = EmbeddedPostgresql()
    await first.start(data_dir)
    await first.stop()
    subprocess.run(["chown", "-R", str(owner), data_dir / "postgresql"], check=True)

    dsn = await postgresql.start(data_dir)
    await execute(dsn, "create table written (id int)")

    assert (data_dir / "postgresql" / "postmaster.pid").stat().st_uid == owner


async def test_a_long_path_gets_a_short_socket(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    dsn = await postgresql.start(data_dir / ("deep" * 30))

    folder = Path(await value(dsn, "show unix_socket_directories"))
    await postgresql.stop()
    folder.rmdir()

    assert len(str(folder)) < 100


async def test_a_folder_that_cannot_be_made_is_named(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    data_dir.write_text("a file is in the way")

    with pytest.raises(StartupError, match=r"cannot be used .*Make it writable"):
        await postgresql.start(data_dir)


async def test_a_full_disk_is_named(
    postgresql: EmbeddedPostgresql, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DISK_FREE_BYTES_MIN", 1 << 60)

    with pytest.raises(StartupError, match=r"is full: \d+ MB free"):
        await postgresql.start(data_dir)


async def test_a_database_of_another_major_version_is_refused(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    (data_dir / "postgresql").mkdir(parents=True)
    (data_dir / "postgresql" / "PG_VERSION").write_text("12\n")

    with pytest.raises(StartupError, match="written by PostgreSQL 12"):
        await postgresql.start(data_dir)


async def test_a_broken_database_is_refused_in_the_words_of_the_server(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    first = EmbeddedPostgresql()
    await first.start(data_dir)
    await first.stop()
    (data_dir / "postgresql" / "global" / "pg_control").unlink()

    with pytest.raises(StartupError, match="pg_control"):
        await postgresql.start(data_dir)


async def test_a_first_start_cut_in_the_middle_is_begun_again(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    (data_dir / "postgresql.unfinished" / "base").mkdir(parents=True)

    dsn = await postgresql.start(data_dir)

    assert await value(dsn, "select 'up'") == "up"
    assert not (data_dir / "postgresql.unfinished").exists()


async def test_a_prompt_and_the_yardstick_of_the_benchmark_are_in_the_wheel(
    postgresql: EmbeddedPostgresql, data_dir: Path
) -> None:
    dsn = await postgresql.start(data_dir)

    prompt = await asyncio.create_subprocess_exec(
        *psql_command(dsn), "-Atc", "select 6 * 7", stdout=asyncio.subprocess.PIPE
    )

    assert (await prompt.communicate())[0] == b"42\n"
    assert os.access(program("pgbench"), os.X_OK)


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        connection.terminate()


async def value(dsn: str, query: str) -> str:
    """Return the single text a query answers."""
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval(query))
    finally:
        await connection.close()


def parent_of(pid: int) -> int:
    """Return the number of the process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def holds(what: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(120):
        while not what():
            await asyncio.sleep(0.01)


async def state_is(pid: int, state: str) -> None:
    """Wait until the process is in this state."""
    async with asyncio.timeout(120):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != state:
            await asyncio.sleep(0.01)


async def heard_of_child(pid: int) -> None:
    """Wait until no signal is on its way to the process, and it sleeps again."""
    async with asyncio.timeout(120):
        while "SigPnd:\t0000000000000000" not in Path(f"/proc/{pid}/status").read_text():
            await asyncio.sleep(0.01)
    await state_is(pid, "S")


async def gone(path: Path) -> None:
    """Wait until the file is gone."""
    async with asyncio.timeout(120):
        while path.exists():
            await asyncio.sleep(0.01)
