"""Each exit status, by a command that ends with it; and junk for every argument there is."""

import asyncio
import io
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
import typer

from caas import process_environment
from caas.cli.commands import ExitStatus
from caas_lab.__main__ import main, program
from tests.first_minutes.checkout import ROOT, Checkout

JUNK = (
    "junk",
    "-1",
    "1e9",
    "2026-99-99",
    "\N{PILE OF POO}",
    "x" * 5000,
    "--",
    "../../etc/passwd\0",
)
TAKES_ANY_TEXT = {
    "--out", "--file", "--export", "--against", "--host", "--note", "--by", "--owner",
    "--dealership", "--folder", "--history", "--draw", "--gateway",
}  # fmt: skip


def commands(
    group: Any = None, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command there is, with the words that name it."""
    group = group or typer.main.get_command(program)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(commands())
TYPED = [
    (words, parameter.opts[0])
    for words, command in COMMANDS.items()
    for parameter in command.params
    if parameter.opts[0].startswith("-")
    and not parameter.is_flag
    and parameter.opts[0] not in TAKES_ANY_TEXT
]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Run the command line in this process; return how it ended and what it said."""
    stated = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["caas", *words])
    with pytest.raises(SystemExit) as ended, redirect_stderr(stated), redirect_stdout(stated):
        main()
    return int(ended.value.code or 0), stated.getvalue()


def test_the_script_knows_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "caas").read_text("utf-8")
    lists = re.findall(r"^OF_THE_(?:PLATFORM|LAB) = \((.*?)\)", text, re.MULTILINE | re.DOTALL)
    named = {name for listed in lists for name in re.findall(r'"(.+?)"', listed)}

    assert named == {words[0] for words in COMMANDS}
    assert all(f" {name}" in text.partition("Rules:")[0] for name in named)
    assert run(monkeypatch, "--version") == (0, "caas 0.1.0\n")


@pytest.mark.parametrize(("words", "option"), TYPED, ids=str)
@pytest.mark.parametrize("junk", JUNK, ids=ascii)
def test_junk_for_a_typed_option_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], option: str, junk: str
) -> None:
    status, stated = run(monkeypatch, *words, option, junk)

    assert status == ExitStatus.USAGE, stated
    assert "Traceback" not in stated


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_option_nobody_has_and_a_word_too_many_are_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    no_such = run(monkeypatch, *words, "--no-such-option")
    too_many = run(monkeypatch, *words, *["one"] * 9)

    assert (no_such[0], too_many[0]) == (ExitStatus.USAGE, ExitStatus.USAGE)
    assert "Traceback" not in no_such[1] + too_many[1]


async def test_a_command_that_is_not_there_is_wrong_usage_and_sets_nothing_up(
    checkout: Checkout,
) -> None:
    ended = await checkout.runs("./caas nonsense")

    assert (ended.status, ended.out) == (2, "")
    assert "nonsense" in ended.err


async def test_the_version_needs_no_set_up(checkout: Checkout) -> None:
    ended = await checkout.runs("./caas --version")

    assert (ended.status, ended.out) == (0, "caas 0.1.0\n")


async def test_a_fault_of_the_program_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_environment: object) -> None:
        message = "a fault"
        raise RuntimeError(message)

    monkeypatch.setattr(process_environment, "reading_database", broken)

    status, stated = await asyncio.to_thread(run, monkeypatch, "self-check")

    assert status == ExitStatus.CRASHED
    assert stated.endswith("Internal error. Please report the traceback above.\n")


async def test_the_shell_completes_commands_options_and_subcommands(checkout: Checkout) -> None:
    script = """
source <(./caas completion bash)
completed() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _caas_completion "$1"; echo "${COMPREPLY[@]}"
}
completed ./caas dem; completed ./caas te; completed ./caas staff li; completed ./caas demo --o
"""
    (checkout.home / "completes.sh").write_text(script)

    ended = await checkout.runs(f"bash {checkout.home}/completes.sh")

    assert ended.out.splitlines() == ["demo", "test", "list link", "--only"], ended.err


IN_ZSH = """
autoload -Uz compinit && compinit -u -d $HOME/.zcompdump
source <(./caas completion zsh)
_arguments() { print -r -- "$@" }
completed() { words=("$@"); CURRENT=$#; _caas_completion }
completed ./caas dem; completed ./caas te; completed ./caas staff li; completed ./caas demo --o
print -r -- $_comps[caas]
"""
IN_FISH = """
./caas completion fish | source
for typed in "./caas dem" "./caas te" "./caas staff li" "./caas demo --o"
  echo (complete --do-complete "$typed" | string match -r '^\\S+')
end
"""


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
async def test_zsh_completes_them_too(checkout: Checkout) -> None:
    (checkout.home / "completes.zsh").write_text(IN_ZSH)

    ended = await checkout.runs(f"zsh -f {checkout.home}/completes.zsh")

    demo, test, staff, only, registered = ended.out.splitlines()
    assert (demo, test) == ("*: :(demo)", "*: :(test)"), ended.err
    assert "list" in staff
    assert "link" in staff
    assert "--only" in only
    assert registered == "_caas_completion"


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
async def test_fish_completes_them_too(checkout: Checkout) -> None:
    (checkout.home / "completes.fish").write_text(IN_FISH)

    ended = await checkout.runs(f"fish --no-config {checkout.home}/completes.fish")

    assert ended.out.splitlines() == ["demo", "test", "link list", "--only"], ended.err
