"""What the first look at a channel weighs on its way, compressed as it was sent."""

from playwright.async_api import Browser

from tests.console.first_page import first_look, first_pages
from tests.console.town import Town

BYTES_MAX = 100_000


async def test_the_first_page_of_everybody_is_light_and_asks_no_other_origin(
    town: Town, chromium: Browser
) -> None:
    looks = {
        path: await first_look(context, town.url + path)
        for path, context in (await first_pages(town, chromium)).items()
    }

    assert {path: look.bytes for path, look in looks.items() if look.bytes >= BYTES_MAX} == {}
    assert all(look.bytes > 10_000 and len(look.addresses) >= 4 for look in looks.values()), looks
    asked = {address for look in looks.values() for address in look.addresses}
    assert [address for address in asked if not address.startswith(f"{town.url}/")] == []
