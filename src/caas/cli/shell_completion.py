"""The scripts with which bash, zsh and fish complete commands.

Rule a change must keep: the program is asked by the word that was typed, because `./caas` is on
nobody's path.
"""

from enum import StrEnum
from typing import Final

from typer.completion import get_completion_script  # type: ignore[attr-defined]  # Typer's own

PROGRAM: Final = "caas"
COMPLETE_VARIABLE: Final = "_CAAS_COMPLETE"


class Shell(StrEnum):
    """Whose script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


HOW_TO_LOAD: Final = {
    Shell.BASH: "source <(./caas completion bash)",
    Shell.ZSH: "source <(./caas completion zsh)    # after compinit",
    Shell.FISH: "./caas completion fish | source",
}


def script(shell: Shell) -> str:
    """Return the script of a shell; a comment in it says how to load it."""
    text: str = get_completion_script(
        prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell
    )
    return f"{_asking_as_typed(shell, text)}\n# To load it: {HOW_TO_LOAD[shell]}"


def _asking_as_typed(shell: Shell, text: str) -> str:
    """Return Typer's script with the typed word where it names the program to ask."""
    match shell:
        case Shell.BASH:
            return text
        case Shell.ZSH:
            return text.replace(f"complete_zsh {PROGRAM})", "complete_zsh ${words[1]})")
        case Shell.FISH:
            return text.replace(
                f"(commandline -cp) {PROGRAM}", "(commandline -cp) (commandline -opc)[1]"
            )
