"""The installable app: manifest, service worker, offline page; small, and of one origin."""

import json
from urllib.parse import urlsplit

from playwright.async_api import Browser, Response, expect

from caas.console.pwa import KEPT
from caas.console.rendering import STATIC
from tests.console.journeys import ANA, PHONE, visitor
from tests.console.town import STOCK, Town

FIRST_PAGE_BYTES_MAX = 100_000


async def test_the_first_page_is_small_and_everything_comes_from_us(
    town: Town, chromium: Browser
) -> None:
    somebody = await visitor(town, chromium, **PHONE)
    answers: list[Response] = []
    somebody.page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108

    await somebody.go("/")
    sizes = [(await answer.request.sizes())["responseBodySize"] for answer in answers]

    assert {urlsplit(answer.url).netloc for answer in answers} == {urlsplit(town.url).netloc}
    assert sum(sizes) < FIRST_PAGE_BYTES_MAX
    assert somebody.complaints == []


async def test_a_browser_finds_the_app_installable(town: Town, chromium: Browser) -> None:
    somebody = await visitor(town, chromium, **PHONE)
    await somebody.go("/")
    await somebody.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    devtools = await somebody.context.new_cdp_session(somebody.page)

    manifest = await devtools.send("Page.getAppManifest")
    faults = await devtools.send("Page.getInstallabilityErrors")

    assert manifest["errors"] == []
    assert json.loads(manifest["data"])["display"] == "standalone"
    hindrances = {fault["errorId"] for fault in faults["installabilityErrors"]}
    assert hindrances <= {"in-incognito"}  # every window of a test is a private one


async def test_without_a_connection_the_app_says_so_and_comes_back(
    town: Town, chromium: Browser
) -> None:
    await town.reserved(STOCK[0][0], email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    await ana.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await ana.page.reload()

    await ana.context.set_offline(offline=True)
    await ana.page.reload()
    await expect(ana.page.get_by_role("heading", name="Sin conexión")).to_be_visible()
    background = await ana.page.evaluate("getComputedStyle(document.body).backgroundColor")
    kept = await ana.page.evaluate(
        "caches.keys().then(names => Promise.all(names.map(name => caches.open(name)"
        ".then(cache => cache.keys()).then(all => all.map(one => new URL(one.url).pathname)))))"
        ".then(all => all.flat())"
    )
    await ana.context.set_offline(offline=False)
    await ana.page.get_by_role("link", name="Reintentar").click()

    await expect(ana.page.get_by_role("heading", name="Su coche está listo")).to_be_visible()
    assert background == "rgb(245, 246, 244)"
    assert not [path for path in kept if path != "/offline" and not path.startswith("/static/")]


async def test_what_the_app_keeps_is_there() -> None:
    assert set(KEPT) <= STATIC.files.keys()


async def test_static_files_are_compressed_and_kept_by_browsers(town: Town) -> None:
    file = STATIC.files["app.css"]

    async with town.http.get(f"{town.url}/static/{file.digest}/app.css") as current:
        sent = (current.headers["content-encoding"], current.headers["cache-control"])
    async with town.http.get(f"{town.url}/static/old/app.css") as old:
        kept_of_old = old.headers["cache-control"]
    async with town.http.get(f"{town.url}/static/x/..%2f..%2fsettings.py") as elsewhere:
        status = elsewhere.status

    assert sent == ("gzip", "public, max-age=31536000, immutable")
    assert kept_of_old == "no-cache"
    assert status == 404
