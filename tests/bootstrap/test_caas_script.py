"""`./caas`: one file that sets the platform up, or says in a sentence what a person must do.

Each test runs the script in a checkout of its own, with an index on this machine; none of them
needs a network. That a whole set-up works is what every run of the suite begins with.
"""

import ast
import base64
import fcntl
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from bootstrap import install, package_index

ROOT = Path(__file__).resolve().parents[2]
EARLIEST_SYNTAX = (3, 6)
AS_OLD_PYTHON = """
import runpy, sys
sys.version_info = (3, 9, 18)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a set-up reads, in a folder where nothing is set up."""
    for name in ("caas", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "bootstrap", tmp_path / "bootstrap")
    return tmp_path


@pytest.fixture
def index() -> Iterator["Index"]:
    """A package index on this machine."""
    served = Index()
    yield served
    served.close()


def test_an_old_python_can_read_the_part_that_talks_to_it() -> None:
    text = (ROOT / "caas").read_text()

    ast.parse(text, feature_version=EARLIEST_SYNTAX)

    assert text.index("become_newer_python()\n") < text.index("def main(")


def test_an_old_python_is_told_which_one_is_needed(checkout: Path) -> None:
    command = [sys.executable, "-c", AS_OLD_PYTHON, str(checkout / "caas"), "demo"]

    ended = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""}, check=False)

    assert ended.returncode == 3
    assert "Python 3.11 or later is needed" in ended.stderr


def test_help_needs_no_set_up(checkout: Path) -> None:
    ended = caas(checkout, "--help")

    assert ended.returncode == 0
    assert "./caas demo" in ended.stdout
    assert not (checkout / ".caas").exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["setup", "--help"], 0),
        (["setup", "--nonsense"], 2),
        (["setup", "extra"], 2),
        (["run", "--help"], 0),
        (["run", "--nonsense"], 2),
    ],
    ids=str,
)
def test_help_and_wrong_usage_of_the_script_set_nothing_up(
    checkout: Path, words: list[str], status: int
) -> None:
    ended = caas(checkout, *words)

    assert ended.returncode == status
    assert f"Usage: ./caas {words[0]}" in ended.stdout + ended.stderr
    assert not (checkout / ".caas").exists()


def test_a_program_that_is_not_there_is_wrong_usage(checkout: Path) -> None:
    pretend_set_up(checkout)

    ended = caas(checkout, "run", "nosuch")

    assert ended.returncode == 2
    assert ended.stderr.startswith("caas: 'nosuch' cannot be run: No such file or directory.")


def test_the_checks_have_a_help_that_names_them(checkout: Path) -> None:
    pretend_set_up(checkout)

    help_, unknown = caas(checkout, "check", "--help"), caas(checkout, "check", "--nonsense")

    assert (help_.returncode, "dead-code" in help_.stdout) == (0, True)
    assert (unknown.returncode, "Unknown check: --nonsense" in unknown.stderr) == (2, True)


def test_a_missing_lock_file_is_named(checkout: Path) -> None:
    (checkout / "uv.lock").unlink()

    ended = caas(checkout, "demo")

    assert ended.returncode == 3
    assert "git checkout uv.lock" in ended.stderr


def test_without_a_network_the_sentence_says_what_to_do(checkout: Path) -> None:
    ended = caas(checkout, "demo", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")

    assert ended.returncode == 3
    assert "set a reachable mirror" in ended.stderr
    assert not list((checkout / ".caas").glob("python-*/caas-stamp"))


def test_a_uv_that_is_not_the_pinned_one_is_never_run(checkout: Path, index: "Index") -> None:
    tags, _ = install.UV_WHEELS[install.platform_key()]
    index.files[f"uv-{install.UV_VERSION}-py3-none-{tags}.whl"] = b"not what was pinned"

    ended = caas(checkout, "demo", PIP_INDEX_URL=index.url)

    assert ended.returncode == 3
    assert "differs from the pinned one" in ended.stderr
    assert not list((checkout / ".caas").glob("tools/*"))


def test_a_finished_set_up_is_used_without_a_word(checkout: Path) -> None:
    pretend_set_up(checkout)

    ended = caas(checkout, "run", "python", "-c", "print('the command')")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the command\n", "")


def test_a_set_up_made_from_another_lock_file_is_not_used(checkout: Path) -> None:
    pretend_set_up(checkout)
    (checkout / "uv.lock").write_text("version = 1\n")

    ended = caas(checkout, "run", "python", "-V", PIP_INDEX_URL="http://127.0.0.1:9/simple")

    assert ended.returncode == 3
    assert "Installing in" in ended.stderr


def test_a_set_up_that_was_cut_in_the_middle_leaves_nothing_behind(checkout: Path) -> None:
    half_done = pretend_set_up(checkout) / "half-installed"
    half_done.touch()
    (half_done.parent / "caas-stamp").unlink()

    caas(checkout, "run", "python", "-V", PIP_INDEX_URL="http://127.0.0.1:9/simple")

    assert not half_done.exists()


def test_a_second_start_waits_for_the_set_up_of_the_first(checkout: Path) -> None:
    environment_dir = pretend_set_up(checkout)
    stamp = environment_dir / "caas-stamp"
    finished = stamp.read_text()
    stamp.unlink()
    with (checkout / ".caas" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = started(checkout, "run", "python", "-c", "print('the command')")
        assert second.stderr is not None
        waits = second.stderr.readline()
        stamp.write_text(finished)
    printed, _ = second.communicate(timeout=60)

    assert "; waiting." in waits
    assert (second.returncode, printed) == (0, "the command\n")


def test_what_users_run_does_not_need_the_developers_tools(checkout: Path) -> None:
    script = loaded(checkout)
    pretend_set_up(checkout, tools="users")

    assert script.stamp(str(checkout / ".caas")) == "users"
    assert script.ready(developers=False).startswith(str(checkout))


def test_the_lock_file_knows_every_dependency_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]

    ours = next(package for package in packages if package["name"] == project["name"])
    locked = {wanted["name"] + wanted["specifier"] for wanted in ours["metadata"]["requires-dist"]}

    assert locked == set(project["dependencies"])


def test_the_index_of_uv_comes_before_that_of_pip_and_a_name_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple/")
    assert package_index.index_url() == "https://pip.example/simple"

    monkeypatch.setenv("UV_DEFAULT_INDEX", "corporate=https://uv.example/simple")
    assert package_index.index_url() == "https://uv.example/simple"


def test_the_index_of_pips_configuration_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/%40a/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    assert package_index.index_url() == "https://mirror.example/%40a/simple"


@pytest.mark.parametrize("form", ["json", "html"])
def test_a_file_is_found_on_either_kind_of_page(index: "Index", form: str) -> None:
    index.form = form
    index.files["uv-1-py3-none-any.whl"] = b"the file"

    link = package_index.link_of("uv-1-py3-none-any.whl", page_url=f"{index.url}/uv/")

    assert package_index.fetch(link) == b"the file"


def test_a_password_goes_to_its_own_index_and_into_no_message(index: "Index") -> None:
    index.password = "me:p@ss"
    index.files["uv-1-py3-none-any.whl"] = b"the file"
    url = index.url.replace("//", "//me:p%40ss@")

    link = package_index.link_of("uv-1-py3-none-any.whl", page_url=f"{url}/uv/")

    assert package_index.fetch(link) == b"the file"
    assert package_index.without_password(url) == index.url


class Index:
    """A package index of a few files, as JSON or as HTML, with a password or without."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.form = "json"
        self.password = ""
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer a page or a file."""
                status, body = index.answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/simple"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        """Return the status and the body for a path."""
        wanted = "Basic " + base64.b64encode(self.password.encode()).decode()
        if self.password and authorization != wanted:
            return 401, b""
        if path.startswith("/files/"):
            return 200, self.files[path.removeprefix("/files/")]
        if self.form == "html":
            links = (f'<a href="../../files/{name}#sha256=0">{name}</a>' for name in self.files)
            return 200, "".join(links).encode()
        listed = (f'{{"filename": "{name}", "url": "/files/{name}"}}' for name in self.files)
        return 200, f'{{"files": [{", ".join(listed)}]}}'.encode()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def pretend_set_up(checkout: Path, *, tools: str = "developers") -> Path:
    """Make what a finished set-up leaves behind, with this Python as the environment's."""
    script = loaded(checkout)
    environment_dir = Path(script.environment_of(str(checkout / ".caas")))
    (environment_dir / "bin").mkdir(parents=True)
    (environment_dir / "bin" / "python").symlink_to(sys.executable)
    (environment_dir / "caas-stamp").write_text(f"{script.fingerprint()} {tools}\n")
    return environment_dir


def loaded(checkout: Path) -> ModuleType:
    """Import the script of a checkout, which has no suffix."""
    loader = SourceFileLoader("caas_script", str(checkout / "caas"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def started(checkout: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """Start the script with no home, no uv and no settings but those named."""
    return subprocess.Popen(
        [sys.executable, checkout / "caas", *words],
        env={"PATH": "/usr/bin:/bin", **variables},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def caas(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script to its end."""
    process = started(checkout, *words, **variables)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)
