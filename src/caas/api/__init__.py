"""The API (floor 8): what machines use, over the rooms of the house.

`build_api(rooms, settings)` is the whole of it: the seed's Internal Payment API, the subsystems
around it, the Webhook Handler, and what it tells of itself. `server_config` says how it is served.

Rules a change must keep: nothing is decided here, every call asks the room of its name; what is
documented is read off the same values that are enforced.
"""

from caas.api.application import build_api
from caas.api.authentication import ConfiguredKey, parse_api_keys
from caas.api.bounded_protocol import server_config
from caas.api.partner_webhooks import PartnerWebhooks
from caas.api.rooms import Rooms
from caas.api.settings import ApiSettings
from caas.rules.scopes import Scope

__all__ = [
    "ApiSettings",
    "ConfiguredKey",
    "PartnerWebhooks",
    "Rooms",
    "Scope",
    "build_api",
    "parse_api_keys",
    "server_config",
]
