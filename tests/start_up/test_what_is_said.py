"""What the command line says to a newcomer."""

from caas.cli import up
from caas.local_machine import LocalWorld
from tests.start_up.conftest import Machine


def test_a_platform_that_is_up_says_where_and_what_to_try() -> None:
    world = LocalWorld(
        environment={"CAAS_DATA_DIR": "/var/caas"},
        controls={"gateway": "http://127.0.0.1:4711"},
        keys={"billing": "caas_key"},
    )

    stated = up._welcome(8080, world, staff=())

    for words in (
        "http://127.0.0.1:8080/docs", "http://127.0.0.1:4711/_control/", "billing",
        "/operations/simulators/messages", "README.md", "./caas demo --against http://127.0.0.1:8080",
        "./caas self-check",
    ):  # fmt: skip
        assert words in stated


async def test_a_command_that_is_not_there_is_told_by_the_name_people_type(
    machine: Machine,
) -> None:
    program = await machine.starts("nonsense")

    ended = await program.ended()

    assert ended.status == 2
    assert "Usage: ./caas" in ended.stated
    assert "python -m" not in ended.stated
