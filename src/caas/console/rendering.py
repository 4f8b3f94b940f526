"""Jinja templates, one environment per language.

Every template has `t` (texts), the filters of `formats`, `request`, and `asset` (the URL of a
static file). Values are text and are escaped; markup is in templates only.

Rules a change must keep: an undefined name in a template is an error; while a page is rendered,
nothing is loaded from outside this package.
"""

from datetime import tzinfo
from functools import cache
from typing import Final

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined

from caas.console import formats
from caas.console.languages import NAMES, Translator
from caas.console.navigation import places_of
from caas.console.request import PageRequest
from caas.rules.market import LOCALES
from caas.web.static_files import StaticFiles

STATIC: Final = StaticFiles("caas.console")
"""No build step: `htmx.min.js` is htmx 2.0.11 as published on npm (0BSD), SHA-256

d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717.
"""


class Renderer:
    """Renders templates."""

    def __init__(self, zone: tzinfo) -> None:
        """Take the environment of each language; a template is compiled once per process."""
        self._environments = {language: _environment(language, zone) for language in LOCALES}

    def render(self, request: PageRequest, template: str, **values: object) -> str:
        """Return a template with these values, in the language of the request."""
        environment = self._environments[request.language]
        role = request.session.role if request.session else None
        return environment.get_template(template).render(
            request=request, role=role, places=places_of(role), unread=request.unread, **values
        )

    def translator(self, language: str) -> Translator:
        """Return the translator of a language."""
        translator = self._environments[language].globals["t"]
        assert isinstance(translator, Translator), "every environment has its words"
        return translator


def qr_code(address: str, title: str) -> str:
    """Return an address as a QR code in SVG; segno escapes the title."""
    code = segno.make_qr(address, error="m")
    drawn: str = code.svg_inline(
        border=2, omitsize=True, title=title, svgclass="qr", lineclass=None, dark="#000",
        light="#fff",
    )  # fmt: skip
    return drawn


@cache
def _environment(language: str, zone: tzinfo) -> Environment:
    environment = Environment(
        loader=PackageLoader("caas.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= dict(formats.filters(language, zone))
    environment.globals |= {
        "t": Translator(language),
        "language": language,
        "languages": NAMES,
        "asset": STATIC.address_of,
        "qr_code": qr_code,
    }
    return environment
