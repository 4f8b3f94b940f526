"""Settings of authentication, rate limits, and credentials at partners.

Rules a change must keep: every default is the secure choice; an error names a setting and never
repeats a secret.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

import msgspec

from caas.console.sign_in_keys import SignInKeyError, SignInKeys
from caas.errors import StartupError
from caas.external_systems.http import Secret
from caas.rules.rate_limits import PER_SECOND_MAX, RateLimit
from caas.setting_values import NotSetError, SettingError, needed


class SecondFactorPolicy(StrEnum):
    """Which operations staff need a second factor: all, or those who have set one up."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Partner(msgspec.Struct, frozen=True):
    """Names of a partner's settings."""

    url: str
    token: str
    client_certificate: str
    certificate_authority: str


FACTORY: Final = Partner(
    "CAAS_FACTORY_URL", "CAAS_FACTORY_TOKEN", "CAAS_FACTORY_CLIENT_CERTIFICATE",
    "CAAS_FACTORY_CERTIFICATE_AUTHORITY",
)  # fmt: skip
REGISTRATION: Final = Partner(
    "CAAS_REGISTRATION_URL", "CAAS_REGISTRATION_TOKEN", "CAAS_REGISTRATION_CLIENT_CERTIFICATE",
    "CAAS_REGISTRATION_CERTIFICATE_AUTHORITY",
)  # fmt: skip
TRANSPORT: Final = Partner(
    "CAAS_TRANSPORT_URL", "CAAS_TRANSPORT_TOKEN", "CAAS_TRANSPORT_CLIENT_CERTIFICATE",
    "CAAS_TRANSPORT_CERTIFICATE_AUTHORITY",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PartnerCredential:
    """Our credential at a partner: a bearer token, or a client certificate."""

    token: Secret | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)


def sign_in_keys(environment: Mapping[str, str]) -> SignInKeys:
    """Return the keys that protect second factors and known devices.

    Raises:
        SettingError: a key is missing or invalid.
    """
    try:
        return SignInKeys.read(needed(environment, "CAAS_SIGN_IN_KEYS"))
    except SignInKeyError as error:
        raise SettingError(f"CAAS_SIGN_IN_KEYS is invalid. {error.sentence}") from error


def second_factor(environment: Mapping[str, str]) -> SecondFactorPolicy:
    """Return whether operations staff need a second factor.

    Raises:
        SettingError: the value is invalid.
    """
    text = environment.get("CAAS_SECOND_FACTOR") or SecondFactorPolicy.REQUIRED
    if text not in set(SecondFactorPolicy):
        raise SettingError(
            f"CAAS_SECOND_FACTOR must be 'required' or 'optional', not '{text}'. "
            "Leave it unset in production, where it is required."
        )
    return SecondFactorPolicy(text)


def strong_login_allowed(environment: Mapping[str, str]) -> bool:
    """Return whether `serve` and `work` may use a database login that can bypass the guards.

    Raises:
        SettingError: the value is invalid.
    """
    text = environment.get("CAAS_STRONG_DATABASE_LOGIN") or "refused"
    if text not in {"refused", "allowed"}:
        raise SettingError(
            "CAAS_STRONG_DATABASE_LOGIN must be 'refused' or 'allowed', not "
            f"'{text}'. Use 'allowed' only for development."
        )
    return text == "allowed"


def local_subscribers(environment: Mapping[str, str]) -> bool:
    """Return whether events may be delivered to this machine.

    Raises:
        SettingError: the value is invalid.
    """
    text = environment.get("CAAS_LOCAL_SUBSCRIBERS") or "refused"
    if text not in {"refused", "allowed"}:
        raise SettingError(
            f"CAAS_LOCAL_SUBSCRIBERS must be 'refused' or 'allowed', not '{text}'. "
            "Use 'allowed' only for development."
        )
    return text == "allowed"


def partner_credential(partner: Partner, environment: Mapping[str, str]) -> PartnerCredential:
    """Return our credential at a partner.

    Raises:
        SettingError: the credential is missing or invalid.
    """
    token, certificate, authority = (
        environment.get(name, "").strip()
        for name in (partner.token, partner.client_certificate, partner.certificate_authority)
    )
    if not token and not certificate:
        raise NotSetError(partner.token)
    if certificate and environment.get(partner.url, "").startswith("http:"):
        raise SettingError(
            f"{partner.client_certificate} requires TLS: {partner.url} must begin with https://."
        )
    tls = _tls(partner, certificate, authority) if certificate or authority else None
    try:
        return PartnerCredential(Secret(token) if token else None, tls)
    except StartupError as error:
        raise SettingError(f"{partner.token} is invalid. {error.sentence}") from error


def rate_limit(name: str, default: RateLimit, environment: Mapping[str, str]) -> RateLimit:
    """Return a rate limit.

    Raises:
        SettingError: the value is not two whole numbers.
    """
    text = environment.get(name)
    if not text:
        return default
    try:
        per_second, burst = (int(part) for part in text.split(","))
    except ValueError:
        per_second, burst = 0, 0
    if not (0 < per_second <= PER_SECOND_MAX and per_second <= burst <= PER_SECOND_MAX):
        raise SettingError(
            f"{name} must be 'requests per second,burst', such as "
            f"'{default.per_second:.0f},{default.burst}': whole numbers, the second "
            "not smaller."
        )
    return RateLimit(per_second, burst)


def trusted_proxies(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the proxies whose forwarded addresses are trusted.

    Raises:
        SettingError: an entry is invalid, or it includes every address.
    """
    parts = tuple(
        part.strip()
        for part in environment.get("CAAS_TRUSTED_PROXIES", "").split(",")
        if part.strip()
    )
    try:
        for part in parts:
            if ip_network(part).prefixlen == 0:
                raise SettingError(
                    "CAAS_TRUSTED_PROXIES includes every address. List your proxies only."
                )
    except ValueError as error:
        raise SettingError(
            "CAAS_TRUSTED_PROXIES must list addresses and networks, such as '10.0.0.7,10.1.0.0/16'."
        ) from error
    return parts


def _tls(partner: Partner, certificate: str, authority: str) -> ssl.SSLContext:
    """Return a TLS context with an authority, or the system's, and our client certificate."""
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"{partner.certificate_authority} is not a readable PEM file of certificates."
        ) from error
    if certificate:
        files = [part.strip() for part in certificate.split(",", 1)]
        try:
            context.load_cert_chain(files[0], files[1] if len(files) > 1 else None)
        except (OSError, ssl.SSLError) as error:
            raise SettingError(
                f"{partner.client_certificate} must be 'certificate.pem,key.pem', "
                "or one PEM file with both, readable and without a password."
            ) from error
    return context
