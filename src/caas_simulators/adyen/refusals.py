"""What the simulated Adyen does not take, in Adyen's own form."""

import re
from typing import Final, TypeVar

import msgspec

from caas_simulators.http_server import JSON, Answer

REFUSED: Final = "702"
"""Adyen's code of a request that is not of the published form."""
OF_PLACE: Final = (
    ("$.amount.value", "Invalid amount specified", "137"),
    ("$.amount.currency", "Unsupported currency specified", "138"),
    ("$.reference", "Reference Missing", "130"),
)
"""The codes that Adyen has for a value in one place."""
UNKNOWN: Final = re.compile(r"unknown field `(?P<name>[^`]+)`")
MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]+)`")
Kind = TypeVar("Kind")


class AdyenRefusal(Exception):  # noqa: N818 - what Adyen does
    """A request that is refused, with Adyen's status, error code and message."""

    def __init__(
        self, message: str, code: str = REFUSED, *, status: int = 422, kind: str = "validation"
    ) -> None:
        """Store what is answered."""
        super().__init__(message)
        self.message, self.code, self.status, self.kind = message, code, status, kind

    def answer(self) -> Answer:
        """Return the answer."""
        body = {
            "status": self.status, "errorCode": self.code, "message": self.message,
            "errorType": self.kind,
        }  # fmt: skip
        return Answer(self.status, msgspec.json.encode(body), JSON)


def taken(body: bytes, kind: type[Kind]) -> Kind:
    """Return a request that is of its published form.

    Raises:
        AdyenRefusal: it is no JSON, or a field is missing, unknown or has a wrong value.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except msgspec.DecodeError:
        raise AdyenRefusal("Unable to read the request.", status=400) from None


def _refusal(problem: str) -> AdyenRefusal:
    unknown, missing = UNKNOWN.search(problem), MISSING.search(problem)
    if unknown is not None:
        return AdyenRefusal(f"Structure contains the following unknown fields: [{unknown['name']}]")
    if missing is not None:
        return AdyenRefusal(f"Required field '{missing['name']}' is not provided.")
    for place, message, code in OF_PLACE:
        if f"`{place}`" in problem:
            return AdyenRefusal(message, code)
    return AdyenRefusal(problem)
