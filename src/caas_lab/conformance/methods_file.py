"""`methods.toml`: a provider's own test tokens by their role, and requests to its sandbox.

Rule a change must keep: nothing in the file excuses a case.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from caas_lab.conformance.cases import MeansMissingError
from caas_lab.conformance.sandbox import Requests, read_file, send

SHIPPED: Final = Path(__file__).parent / "methods"
STRANGER: Final[Mapping[str, str]] = {"CAAS_GATEWAY_API_KEY": "sk_stranger"}


class Role(StrEnum):
    """What a payment method is used for in the cases."""

    OK = "ok"
    CHALLENGE = "challenge"
    REUSABLE = "reusable"


class SandboxAction(StrEnum):
    """What a customer, a bank or time does; each is one HTTP request to the sandbox."""

    PAY_PAGE = "pay_page"
    DECLINE_PAGE = "decline_page"
    LEAVE_PAGE = "leave_page"
    CONFIRM = "confirm"
    REJECT = "reject"
    EXPIRE = "expire"
    SETTLE = "settle"
    CLOSE_DAY = "close_day"


class MethodsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a `methods.toml`.

    `declines` maps decline codes of the port to methods declined with them. `amounts` maps
    currencies to an amount in minor units that the provider takes. `wrong_credentials` are settings
    that the provider must reject. `report_zone` is the time zone of the report's days.
    """

    methods: dict[Role, str]
    declines: dict[str, str]
    amounts: dict[str, int]
    wrong_credentials: dict[str, str] = msgspec.field(default_factory=lambda: dict(STRANGER))
    report_zone: str = "UTC"
    sandbox: dict[SandboxAction, Requests] = {}

    def __post_init__(self) -> None:
        """Reject a file without what every case needs."""
        if Role.OK not in self.methods:
            raise ValueError("it has no method for the role 'ok'")
        if not self.amounts or min(self.amounts.values()) < 1:
            raise ValueError("an amount is at least 1, in at least one currency")

    def method(self, role: Role) -> str:
        """Return the method of a role.

        Raises:
            MeansMissingError: the file has none.
        """
        if role not in self.methods:
            raise MeansMissingError(f"methods.toml has no method for the role '{role}'.")
        return self.methods[role]

    async def act(self, action: SandboxAction, **values: str) -> None:
        """Make the sandbox do something.

        Raises:
            MeansMissingError: the file does not say how, or the sandbox refuses.
        """
        await send(action, self.sandbox.get(action), values)


def read_methods(path: Path) -> MethodsFile:
    """Read a `methods.toml`.

    Raises:
        StartupError: it cannot be read, or something in it is unknown or missing.
    """
    return read_file(path, MethodsFile)
