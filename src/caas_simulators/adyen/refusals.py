"""What the simulated Adyen does not take, in Adyen's own form."""

from collections.abc import Mapping
from typing import Any

import msgspec

from caas_simulators.http_server import JSON, Answer


class AdyenRefusal(Exception):  # noqa: N818 - what Adyen does
    """A request that is refused, with Adyen's status, error code and message."""

    def __init__(
        self, message: str, code: str, *, status: int = 422, kind: str = "validation"
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


def checked(
    body: bytes, required: Mapping[str, type], optional: Mapping[str, type]
) -> dict[str, Any]:
    """Return a body with only these fields.

    Raises:
        AdyenRefusal: it is no JSON, or a field is missing, unknown or of another type.
    """
    try:
        asked = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise AdyenRefusal("Unable to read the request.", "702", status=400) from None
    if not isinstance(asked, dict):
        raise AdyenRefusal("Unable to read the request.", "702", status=400)
    unknown = [name for name in asked if name not in required and name not in optional]
    if unknown:
        names = ", ".join(unknown)
        raise AdyenRefusal(f"Structure contains the following unknown fields: [{names}]", "702")
    for name in required:
        if name not in asked:
            raise AdyenRefusal(f"Required field '{name}' is not provided.", "702")
    for name, value in asked.items():
        wanted = required.get(name) or optional[name]
        if not isinstance(value, wanted):
            raise AdyenRefusal(f"Field '{name}' is not of the expected type.", "702")
    return asked


def amount_of(asked: Mapping[str, Any]) -> tuple[int, str]:
    """Return the amount of a request.

    Raises:
        AdyenRefusal: it is none.
    """
    amount = asked["amount"]
    value, currency = amount.get("value"), amount.get("currency")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise AdyenRefusal("Invalid amount specified", "137")
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isupper()):  # noqa: PLR2004  # ISO 4217
        raise AdyenRefusal("Unsupported currency specified", "138")
    return value, currency
