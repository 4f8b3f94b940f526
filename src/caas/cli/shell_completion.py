"""Completion scripts for bash, zsh and fish.

Rule a change must keep: the script calls the program by the path that was typed, because `./caas`
is not on PATH.
"""

from enum import StrEnum
from typing import Final

from typer.completion import get_completion_script  # type: ignore[attr-defined]  # Typer's own

PROGRAM: Final = "caas"
COMPLETE_VARIABLE: Final = "_CAAS_COMPLETE"


class Shell(StrEnum):
    """A supported shell."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


HOW_TO_LOAD: Final = {
    Shell.BASH: "source <(./caas completion bash)",
    Shell.ZSH: "source <(./caas completion zsh)    # after compinit",
    Shell.FISH: "./caas completion fish | source",
}


def script(shell: Shell) -> str:
    """Return a shell's completion script; a comment in it shows how to load it."""
    text: str = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell
    )
    return f"{_script_for_typed_path(shell, text)}\n# To load it: {HOW_TO_LOAD[shell]}"


def _script_for_typed_path(shell: Shell, text: str) -> str:
    """Return Typer's script with the typed path in place of the program name."""
    match shell:
        case Shell.BASH:
            return text
        case Shell.ZSH:
            return text.replace(f"complete_zsh {PROGRAM})", "complete_zsh ${words[1]})")
        case Shell.FISH:
            return text.replace(
                f"(commandline -cp) {PROGRAM}", "(commandline -cp) (commandline -opc)[1]"
            )
