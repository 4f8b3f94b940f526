"""One API call: the request, its caller and its rate limit."""

from dataclasses import dataclass

from caas.api.authentication import Caller
from caas.rules.rate_limits import Quota
from caas.web.request import Request


@dataclass(slots=True)
class Call(Request):
    """A request to the API; admission fills in the caller."""

    caller: Caller | None = None
    quota: Quota | None = None

    @property
    def by(self) -> Caller:
        """The authenticated caller."""
        assert self.caller is not None, (
            "an operation that needs a caller runs only after authentication"
        )
        return self.caller
