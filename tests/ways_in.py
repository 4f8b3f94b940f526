"""What protects the ways in, as the settings of the tests have it."""

from typing import Final

from caas.console.sign_in_keys import SignInKeys

SIGN_IN_KEY: Final = "c2lnbi1pbiBrZXkgb2YgdGhlIHRlc3RzLCAzMmJ5dGU="
SIGN_IN_KEYS: Final = SignInKeys.read(SIGN_IN_KEY)
PARTNER_TOKEN: Final = "sk_simulated"
SETTINGS: Final = {
    "CAAS_SIGN_IN_KEYS": SIGN_IN_KEY,
    "CAAS_FACTORY_TOKEN": PARTNER_TOKEN,
    "CAAS_REGISTRATION_TOKEN": PARTNER_TOKEN,
    "CAAS_TRANSPORT_TOKEN": PARTNER_TOKEN,
}
"""What every start needs of it."""
