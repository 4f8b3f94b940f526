"""Errors as Stripe answers them: a type, a code, the parameter, and the objects they are about."""

from typing import Any

import msgspec

from caas_simulators.http_server import Answer

Json = dict[str, Any]
DOCUMENTATION = "https://stripe.com/docs/error-codes/"


class StripeRefusal(Exception):  # noqa: N818 - an answer of the API, not a fault of this program
    """The request is not done; `stored` says whether its idempotency key keeps this answer."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int = 400,
        stored: bool = True,
        **facts: Any,
    ) -> None:
        """Keep the answer; `facts` are further fields of the error, such as `payment_intent`."""
        self.status = status
        self.stored = stored
        error: Json = {"type": facts.pop("type", "invalid_request_error"), "message": message}
        if code is not None:
            error |= {"code": code, "doc_url": DOCUMENTATION + code.replace("_", "-")}
        if param is not None:
            error["param"] = param
        self.error = error | {name: value for name, value in facts.items() if value is not None}
        super().__init__(message)

    def answer(self, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
        """Return it as it goes on the wire."""
        return Answer(self.status, msgspec.json.encode({"error": self.error}), headers=headers)


def invalid(message: str, param: str, code: str = "parameter_invalid") -> StripeRefusal:
    """Return the refusal of a parameter's value; it is found before anything is executed."""
    return StripeRefusal(message, code=code, param=param, stored=False)


def missing(kind: str, identifier: str, *, param: str = "id", status: int = 404) -> StripeRefusal:
    """Return the refusal of an id that this account and mode do not have."""
    message = f"No such {kind}: '{identifier}'"
    return StripeRefusal(message, code="resource_missing", param=param, status=status)


def unexpected(message: str, code: str, **facts: Any) -> StripeRefusal:
    """Return the refusal of what the state of an object does not allow."""
    return StripeRefusal(message, code=code, **facts)
