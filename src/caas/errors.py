"""Errors that a caller of the platform must expect.

An error is its sentence: the class docstring is what a person reads when nothing more precise is
given, and the facts are attributes. Concrete errors live beside the function that raises them.

Rules: every error here names whose fault it is. Anything that is not a `CaasError` is a bug.
"""

from typing import ClassVar


class CaasError(Exception):
    """The platform could not do what was asked."""

    code: ClassVar[str] = "caas_error"
    http_status: ClassVar[int] = 500

    def __init__(self, sentence: str | None = None, **facts: object) -> None:
        """Keep the sentence (the class docstring when none is given) and the facts."""
        self.sentence = sentence or " ".join((type(self).__doc__ or "").split())
        self.facts = facts
        super().__init__(self.sentence)


class RefusedError(CaasError):
    """The request cannot be done as asked; nothing was changed."""

    code = "refused"
    http_status = 422


class NotFoundError(RefusedError):
    """Nothing with this id exists here."""

    code = "not_found"
    http_status = 404


class ConflictError(RefusedError):
    """The request contradicts what has already happened."""

    code = "conflict"
    http_status = 409


class UnavailableError(CaasError):
    """A part the platform depends on does not answer; try again shortly."""

    code = "unavailable"
    http_status = 503


class StartupError(CaasError):
    """The platform cannot start with the settings it was given (exit status 3)."""

    code = "startup"
