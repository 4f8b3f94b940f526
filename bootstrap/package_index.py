"""The package index configured for uv or pip, and downloads from it.

Rule a change must keep: a password is never printed, and never sent to an unverified server.
"""

import configparser
import gzip
import html
import json
import os
import re
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import Request, urlopen

PYPI: Final = "https://pypi.org/simple"
ACCEPTED: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"
FETCH_SECONDS_MAX: Final = 60


def index_url() -> str:
    """Return the index: uv's setting, else pip's, else PyPI."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if os.environ.get(name):
            return re.sub(r"^[\w-]+=(?=\w+://)", "", os.environ[name]).rstrip("/")
    return (configured_for_pip("index-url") or PYPI).rstrip("/")


def certificates() -> str | None:
    """Return the certificate file named by the environment, if any."""
    names = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
    named = [os.environ.get(name) for name in names]
    return next((file for file in [*named, configured_for_pip("cert")] if _is_file(file)), None)


def configured_for_pip(setting: str) -> str | None:
    """Return a setting of pip's configuration files; the user's file takes precedence."""
    home = Path(os.environ.get("HOME") or "/nonexistent")
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        config_home / "pip" / "pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or "/nonexistent"),
    ]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(file for file in files if os.access(file, os.R_OK))
    sections = [name for name in ("install", "global") if parser.has_option(name, setting)]
    return parser.get(sections[0], setting).strip() if sections else None


def without_password(url: str) -> str:
    """Return the URL without its password."""
    return re.sub(r"//[^/@]*@", "//", url)


def link_of(name: str, *, page_url: str) -> str:
    """Return the link to a file on an index page, JSON or HTML.

    Raises:
        ValueError: the page does not list the file.
    """
    page = fetch(page_url).decode()
    if page.lstrip().startswith("{"):
        links = [file["url"] for file in json.loads(page)["files"] if file["filename"] == name]
    else:
        pattern = rf"""href\s*=\s*["']([^"'#]*{re.escape(name)})[#"']"""
        links = [html.unescape(link) for link in re.findall(pattern, page)]
    if not links:
        sentence = f"{name} is not listed"
        raise ValueError(sentence)
    return _with_password_of(page_url, urljoin(page_url, links[0]))


def fetch(url: str) -> bytes:
    """Download a URL.

    Without installed certificates, as in a bare Debian, the server is not verified: files are
    verified by their sha256.

    Raises:
        OSError: there is no response, or an error.
    """
    request, has_password = _request(url)
    context = ssl.create_default_context(cafile=certificates())
    try:
        return _answer(request, context)
    except URLError as failure:
        unverified = isinstance(failure.reason, ssl.SSLCertVerificationError)
        if not unverified or has_password or context.cert_store_stats()["x509_ca"]:
            raise
    return _answer(request, ssl._create_unverified_context())  # noqa: S323, SLF001 - see above


def _request(url: str) -> tuple[Request, bool]:
    """Return the request, and whether it contains the URL's password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    headers = {"Accept": ACCEPTED, "Accept-Encoding": "gzip"}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    plain = parts._replace(netloc=host).geturl()
    return Request(plain, headers=headers), "Authorization" in headers  # noqa: S310 - as configured


def _answer(request: Request, context: ssl.SSLContext) -> bytes:
    with urlopen(request, timeout=FETCH_SECONDS_MAX, context=context) as answer:  # noqa: S310
        body: bytes = answer.read()
        return gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body


def _with_password_of(page_url: str, link: str) -> str:
    """Add an index's password to links on the same server only."""
    page, file = urlsplit(page_url), urlsplit(link)
    same = (page.scheme, page.hostname, page.port) == (file.scheme, file.hostname, file.port)
    return file._replace(netloc=page.netloc).geturl() if same else link


def _is_file(path: str | None) -> bool:
    return path is not None and Path(path).is_file()
