"""Progressive web app: manifest, service worker and offline page.

Rules a change must keep: the service worker caches style, script and the offline page, never a
person's page; it is revalidated on each request, so that an old version never delays a new one.
"""

from typing import Final

import msgspec

from caas.console.context import Console
from caas.console.rendering import STATIC
from caas.console.request import PageRequest
from caas.web.response import OK, RawHeader, Response, html
from caas.web.static_files import ASK_EACH_TIME, MEDIA_TYPES

MANIFEST_PATH: Final = "/manifest.webmanifest"
WORKER_PATH: Final = "/sw.js"
OFFLINE_PATH: Final = "/offline"
ICON_PATHS: Final = {"/favicon.ico": "icon-192.png", "/apple-touch-icon.png": "icon-192.png"}
MANIFEST_TYPE: Final[RawHeader] = (b"content-type", b"application/manifest+json")
ICONS: Final = (
    ("icon.svg", "any", "image/svg+xml", "any"),
    ("icon-192.png", "192x192", "image/png", "any"),
    ("icon-512.png", "512x512", "image/png", "any"),
    ("icon-maskable-512.png", "512x512", "image/png", "maskable"),
)
KEPT: Final = ("app.css", "app.js", "htmx.min.js", "icon.svg")


def response(path: str, console: Console, request: PageRequest) -> Response | None:
    """Return a file of the app at its path, None for every other path."""
    if path == MANIFEST_PATH:
        manifest = msgspec.json.encode(_manifest(console, request))
        return Response(OK, manifest, (MANIFEST_TYPE, ASK_EACH_TIME, (b"vary", b"accept-language")))
    if path == WORKER_PATH:
        return Response(OK, _worker(), ((b"content-type", MEDIA_TYPES["js"]), ASK_EACH_TIME))
    if path == OFFLINE_PATH:
        return html(console.renderer.render(request, "offline.html"))
    if path in ICON_PATHS:
        file = STATIC.files[ICON_PATHS[path]]
        return Response(OK, file.plain, ((b"content-type", file.media_type), ASK_EACH_TIME))
    return None


def _manifest(console: Console, request: PageRequest) -> dict[str, object]:
    t = console.renderer.translator(request.language)
    return {
        "id": "/",
        "name": t("app.name"),
        "short_name": t("app.short_name"),
        "description": t("app.description"),
        "lang": request.language,
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": "#f5f6f4",
        "theme_color": "#0e4f54",
        "icons": [
            {"src": STATIC.address_of(name), "sizes": sizes, "type": kind, "purpose": purpose}
            for name, sizes, kind, purpose in ICONS
        ],
    }


def _worker() -> bytes:
    """Return the service worker with the addresses it caches; any change makes a new version."""
    kept = [OFFLINE_PATH, *(STATIC.address_of(name) for name in KEPT)]
    script = STATIC.files["service-worker.js"].plain
    return b"const KEPT = " + msgspec.json.encode(kept) + b";\n" + script
