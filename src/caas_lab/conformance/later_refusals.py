"""Captures and voids that a gateway accepts first and refuses later, as errors of the port."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from caas.external_systems.gateway_modifications import GatewayRefusal
from caas.external_systems.http_answers import RefusedByPartnerError
from caas.external_systems.payment_gateway import (
    AlreadyCapturedError,
    AlreadyVoidedError,
    AuthorizationExpiredError,
)

DECIDING: Final[Mapping[str, type[RefusedByPartnerError]]] = {
    one.code: one for one in (AlreadyCapturedError, AlreadyVoidedError, AuthorizationExpiredError)
}


class UndecidedRefusalError(RefusedByPartnerError):
    """It is refused for a reason that does not show what became of the transaction."""


def later_refusal(refusal: GatewayRefusal) -> RefusedByPartnerError:
    """Return the error that an immediate refusal for the same reason is."""
    kind = DECIDING.get(refusal.refusal, UndecidedRefusalError)
    return kind(
        partner="The gateway", call=f"{refusal.operation} {refusal.transaction_id}",
        status=HTTPStatus.CONFLICT, refusal=refusal.refusal, problem="It was accepted first.",
    )  # fmt: skip
