"""The mail that people got: the letters of the platform's local outbox.

Seed: the arrows that end at Customer and at Dealership.

Rule a change must keep: a message is read as its reader gets it, whole, after it was sent.
"""

from pathlib import Path

from caas.external_systems.outbox_letters import Letter, read_letter


class Mailbox:
    """Reads a folder of messages, each once."""

    def __init__(self, folder: Path) -> None:
        """Read this outbox."""
        self._folder = folder
        self._read: dict[str, Letter] = {}

    def to(self, recipient: str) -> list[Letter]:
        """Return everything that was sent to this address, oldest first."""
        for path in self._folder.glob("*.eml"):
            if path.name not in self._read:
                self._read[path.name] = read_letter(path)
        letters = [letter for letter in self._read.values() if letter.recipient == recipient]
        return sorted(letters, key=lambda letter: letter.at)
