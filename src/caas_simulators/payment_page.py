"""The hosted payment page."""

from caas_simulators.gateway_world import GatewayWorld
from caas_simulators.http_server import Answer, Request, unknown_path


def handle(world: GatewayWorld, request: Request) -> Answer:
    """Answer a request for a hosted page."""
    del world, request
    return unknown_path()
