"""One call of the API: a request, who makes it, and what is left of their limit.

Rule a change must keep: who calls is known before anything is looked up for them.
"""

from dataclasses import dataclass

from caas.api.authentication import Caller
from caas.rules.rate_limits import Quota
from caas.web.request import Request


@dataclass(slots=True)
class Call(Request):
    """A request of a machine; the admission fills in what it learns."""

    caller: Caller | None = None
    quota: Quota | None = None

    @property
    def by(self) -> Caller:
        """The caller, of whom the admission made sure."""
        assert self.caller is not None, "a call that needs a caller passed the authentication"
        return self.caller
