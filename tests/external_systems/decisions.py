"""What a gateway that decides at once has answered to a capture or void."""

from caas.external_systems.gateway_modifications import AcceptedRequest
from caas.external_systems.payment_gateway import GatewayTransaction


def decided(answer: GatewayTransaction | AcceptedRequest) -> GatewayTransaction:
    """Return the decision; none was put off."""
    assert isinstance(answer, GatewayTransaction)
    return answer
