"""Errors that callers of the platform must expect.

The class docstring is the default message; facts are attributes. Concrete errors are defined next
to the functions that raise them. Any exception that is not a `CaasError` is a bug.

Rule a change must keep: each error has a code and a status that identify whose fault it is.
"""

from typing import ClassVar


class CaasError(Exception):
    """The platform could not fulfil the request."""

    code: ClassVar[str] = "caas_error"
    http_status: ClassVar[int] = 500

    def __init__(self, sentence: str | None = None, **facts: object) -> None:
        """Use this sentence, or the class docstring, as the message."""
        self.sentence = sentence or " ".join((type(self).__doc__ or "").split())
        self.facts = facts
        super().__init__(self.sentence)


class RefusedError(CaasError):
    """The request cannot be fulfilled; nothing was changed."""

    code = "refused"
    http_status = 422


class NotFoundError(RefusedError):
    """Nothing has this id."""

    code = "not_found"
    http_status = 404


class ConflictError(RefusedError):
    """The request conflicts with the current state."""

    code = "conflict"
    http_status = 409


class UnavailableError(CaasError):
    """A required system does not respond. Retry shortly."""

    code = "unavailable"
    http_status = 503


class StartupError(CaasError):
    """The platform cannot start with these settings (exit status 3)."""

    code = "startup"
