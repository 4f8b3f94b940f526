"""Settings of the console, passed in; nothing is read from the environment.

Rule a change must keep: every default is safe.
"""

from zoneinfo import ZoneInfo

import msgspec

from caas.console.sign_in_keys import SignInKeys
from caas.rules.rate_limits import DEFAULT_ADDRESS_LIMIT, RateLimit


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The public address, the market's time zone and the default language.

    `address_limit` is the rate limit of one address without a session. `sign_in_keys` protect
    second factors and known devices.
    """

    public_url: str
    zone: ZoneInfo
    sign_in_keys: SignInKeys
    second_factor_required: bool = True
    language: str = "es"
    address_limit: RateLimit = DEFAULT_ADDRESS_LIMIT

    @property
    def is_secure(self) -> bool:
        """Whether browsers use https, so that cookies are sent by nothing else."""
        return self.public_url.startswith("https://")
