"""What every form of the channels refuses, read off the routes: nothing is listed here by hand."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from caas import console
from caas.billing_database.accounts import Role
from caas.billing_database.identifiers import new_id
from caas.console.application import ROUTES
from tests.console.belongings import path_of
from tests.console.journeys import ANA, OPERATIONS, SALES
from tests.console.test_safety import Client, client_of
from tests.console.town import STOCK, Town

FORMS = [route for route in ROUTES if route.method == "POST"]
NUMBERS = ("4111 1111 1111 1111", "ES91 2100 0418 4502 0005 1332")
THINGS = {"car": str(new_id()), "service": str(new_id()), "{vin:word}": STOCK[0][0]}
BOUNDARY = "limit"
TEMPLATES = Path(console.__file__).parent / "templates"
POSTED = re.compile(r'<form\b[^>]*method="post".*?</form>', re.DOTALL)
TYPED = re.compile(
    r"<textarea.*?</textarea>|\{% call field\(.*?%\}"
    r"|<input (?!type=.(?:hidden|radio|checkbox))(?![^>]*type=.file)(?:[^<>{]|\{\{.*?\}\})*>",
    re.DOTALL,
)
NOT_ECHOED = ('type="password"', "value=login", 'field("code"', 'field("login"', "forgotten.")
"""Secrets; and the forms of signing in, which say themselves what they keep."""
FILE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
async def people(town: Town) -> AsyncIterator[dict[Role | None, Client]]:
    """Somebody of each role, signed in, and somebody who is not."""
    async with AsyncExitStack() as stack:
        everybody = {role: client_of(town) for role in (None, *Role)}
        for client in everybody.values():
            stack.push_async_callback(client.session.close)
        await town.reserved(STOCK[2][0], email=ANA)
        await everybody[Role.CUSTOMER].opens_account(ANA)
        await everybody[Role.SALES].sign_in(SALES)
        await everybody[Role.OPERATIONS].sign_in(OPERATIONS)
        yield everybody


async def tokens(people: dict[Role | None, Client]) -> dict[Role | None, str]:
    """Return the token that forms of each of them carry."""
    return {
        role: (await client.get("/sign-in" if role is None else "/account")).field("form_token")
        for role, client in people.items()
    }


def with_file(fields: dict[str, str]) -> bytes:
    """Write fields as a form that may hold a file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()


async def sent(client: Client, path: str, fields: dict[str, str]) -> tuple[int, str]:
    """Send a form as its page would."""
    if path.endswith("/documents"):
        reply = await client.sent(path, with_file(fields), FILE)
    else:
        reply = await client.post(path, fields)
    return reply.status, reply.text


@pytest.mark.parametrize("number", NUMBERS)
async def test_no_form_takes_the_number_of_a_card_or_of_an_account(
    people: dict[Role | None, Client], number: str
) -> None:
    wrong: list[str] = []
    theirs = await tokens(people)
    for route in FORMS:
        role = next(iter(sorted(route.roles)), None)
        path = path_of(route, THINGS)
        fields = {"form_token": theirs[role], "key": str(new_id()), "anything": f"It is {number}"}
        status, text = await sent(people[role], path, fields)
        wrong += [f"{path}: {status}"] if status != 422 or number in text else []

    assert wrong == []
    assert len(FORMS) > 25


def test_no_form_loses_what_was_typed_when_it_is_refused() -> None:
    """Read off the templates: a field for text is filled with what was typed before."""
    forgets: list[str] = []
    fields = 0
    for template in sorted(TEMPLATES.rglob("*.html")):
        for form in POSTED.findall(template.read_text()):
            for field in TYPED.findall(form):
                fields += 1
                kept = any(way in field for way in ("request.typed(", "filled_in.", *NOT_ECHOED))
                forgets += [] if kept else [f"{template.name}: {field}"]

    assert forgets == []
    assert fields > 30


async def test_no_form_is_done_without_the_token_of_its_browser(
    people: dict[Role | None, Client],
) -> None:
    wrong: list[str] = []
    for route in FORMS:
        role = next(iter(sorted(route.roles)), None)
        path = path_of(route, THINGS)
        for token in ("", "x" * 43):
            status, _ = await sent(people[role], path, {"form_token": token, "key": str(new_id())})
            wrong += [f"{path}: {status}"] if status != 403 else []

    assert wrong == []
