"""Finds e-mail addresses, telephone numbers and a customer's own name in text (decision 92).

Books, events and evidence are never changed, so nothing that has to be forgotten one day may come
into them: a request that brings it is refused, and what partners send is stored without it.

Rules a change must keep: an id, an amount or a moment is no telephone number; what is masked holds
nothing that would be found again.
"""

import re
from collections.abc import Mapping
from typing import Final

MASK: Final = "[removed]"
PERSONAL_KEYS: Final = frozenset({
    "name", "first_name", "last_name", "full_name", "cardholder_name", "email", "receipt_email",
    "customer_email", "phone", "customer_phone", "billing_details", "customer_details", "shipping",
    "address", "owner", "payer",
})  # fmt: skip
"""Fields in which partners tell who somebody is."""

_ADDRESS: Final = re.compile(
    r"[^\s@<>\"',;:()\[\]{}]+@[^\s@<>\"',;:()\[\]{}]+\.[^\s@<>\"',;:()\[\]{}]+"
)
_TELEPHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9](?:[ ().-]{0,2}\d){7,13}(?!\w)"
    r"|(?<![\w.-])[6-9]\d{2}(?:[ .]\d{3}){2}(?![\w.-])"
    r"|(?<![\w.-])[6-9]\d{2}(?:[ .]\d{2}){3}(?![\w.-])"
)
_NAME_CHARS_MIN: Final = 3


def tells_of_a_person(text: str, *, name: str | None, email: str | None) -> bool:
    """Say whether text holds an address, a telephone number, or this customer's own data."""
    if _ADDRESS.search(text) or _TELEPHONE.search(text):
        return True
    plain = text.casefold()
    if email is not None and email.casefold() in plain:
        return True
    if name is None or len(name) < _NAME_CHARS_MIN:
        return False
    return re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", plain) is not None


def masked(text: str) -> str:
    """Return text without e-mail addresses."""
    return _ADDRESS.sub(MASK, text)


def without_personal_data(told: object) -> object:
    """Return what a partner told in JSON without what says who somebody is."""
    if isinstance(told, Mapping):
        return {
            key: without_personal_data(value)
            for key, value in told.items()
            if key not in PERSONAL_KEYS
        }
    if isinstance(told, list):
        return [without_personal_data(one) for one in told]
    return masked(told) if isinstance(told, str) else told
