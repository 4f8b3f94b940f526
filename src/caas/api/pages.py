"""The HTML layout of the API's pages: static, without scripts or other origins."""

from html import escape
from typing import Final

from caas.web.response import Response

HTML: Final = "text/html"
STYLE_PATH: Final = "/docs/style.css"
STYLE: Final = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: #f3f3f3; padding: .75rem; overflow-x: auto; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ccc;
  vertical-align: top; }
summary { cursor: pointer; padding: .35rem 0; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
a { color: #0b5394; }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #161616; }
  pre { background: #242424; }
  th, td { border-color: #444; }
  a { color: #8ab4f8; }
}
""".strip()
_POLICY: Final = (
    b"content-security-policy",
    (
        b"default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'none'"
    ),
)


def page(title: str, body: str) -> Response:
    """Return a page with this title and this HTML body."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{STYLE_PATH}"></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )
    return Response(200, text.encode(), ((b"content-type", b"text/html; charset=utf-8"), _POLICY))


def style() -> Response:
    """Return the style sheet of the pages."""
    return Response(200, STYLE.encode(), ((b"content-type", b"text/css; charset=utf-8"),))
