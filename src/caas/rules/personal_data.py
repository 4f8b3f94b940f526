"""Finds e-mail addresses, telephone numbers and a customer's own name in text (decision 92).

Books, events and evidence are never changed, so nothing that has to be forgotten one day may come
into them: a request that brings it is refused, and what partners send is stored without it.

Rules a change must keep: an id, an amount or a moment is no telephone number; what is masked holds
nothing that would be found again.
"""

import itertools
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

MASK: Final = "[removed]"
PERSON_NAME_CHARS_MAX: Final = 200
NAME_CHARS_MAX: Final = 120
"""Of what is no person: a model, a dealership, a document."""
EMAIL_CHARS_MAX: Final = 254
PERSONAL_KEYS: Final = frozenset({
    "name", "first_name", "last_name", "full_name", "cardholder_name", "email", "receipt_email",
    "customer_email", "phone", "customer_phone", "billing_details", "customer_details", "shipping",
    "address", "owner", "payer",
})  # fmt: skip
"""Fields in which partners tell who somebody is."""

_REASON_KEYS: Final = frozenset({"reason", "void_reason"})

_ADDRESS: Final = re.compile(
    r"[^\s@<>\"',;:()\[\]{}]+@[^\s@<>\"',;:()\[\]{}]+\.[^\s@<>\"',;:()\[\]{}]+"
)
_TELEPHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9](?:[ ().-]{0,2}\d){7,13}(?!\w)"
    r"|(?<![\w.-])[6-9]\d{2}(?:[ .]\d{3}){2}(?![\w.-])"
    r"|(?<![\w.-])[6-9]\d{2}(?:[ .]\d{2}){3}(?![\w.-])"
)
_OBJECT: Final = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\}?)*\}?)*\}?"
_FIELD: Final = re.compile(
    rf'"(?:{"|".join(sorted(PERSONAL_KEYS))})"\s*:\s*(?:{_OBJECT}|"(?:[^"\\]|\\.)*"?)'
)
"""A field that says who somebody is, also in JSON that ends in the middle of it."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_NAME_CHARS_MIN: Final = 3
_RUN_TOGETHER_CHARS_MIN: Final = 7
_FAMILY_CHARS_MIN: Final = 5
_REASON: Final = (
    "|abandoned|bank_cannot_process|canceled|cancelled|cardholder_dispute|chargeback|check_returned|"
    "credit_not_processed|customer_initiated|customer_left|debit_not_authorized|desistimiento|"
    "duplicate|expired|fraud|fraudulent|general|goods_not_received|incorrect_account_details|"
    "insufficient_funds|no_authorization|noncompliant|not_as_described|not_recognized|other|"
    "page_expired|processing_error|product_not_received|product_unacceptable|requested|"
    "requested_by_customer|services_not_provided|subscription_canceled|unrecognized|"
    r"[A-Z]{0,4}\d{1,4}(?:\.\d{1,2})?"
)
"""Codes in which gateways, card schemes (10.4, 4853) and SEPA (AC04) give a reason.

Whatever else they write may be about a person.
"""
_CODE: Final = re.compile(_REASON)
_FREE_REASON: Final = re.compile(rf'"(?:void_)?reason"\s*:\s*"(?!(?:{_REASON})")')


def identifies_a_person(text: str, *, name: str | None, email: str | None) -> bool:
    """Say whether text holds an address, a telephone number, or this customer's own data.

    A name is found with or without its accents, with any marks between its words or none, and with
    its family name first; a family name also alone, where it is no short word.
    """
    if _ADDRESS.search(text.replace("%40", "@")) or _TELEPHONE.search(text):
        return True
    if email is not None and email.casefold() in text.casefold():
        return True
    return name is not None and _names(text, name)


def _names(text: str, name: str) -> bool:
    parts, words = [_words(part) for part in name.split()], _words(text)
    together = "".join(itertools.chain(*parts))
    if len(together) < _NAME_CHARS_MIN:
        return False
    if any(_stands_alone(family, words) for family in parts[1:]):
        return True
    for turned in (parts, [*parts[1:], parts[0]], parts[::-1]):
        order = list(itertools.chain(*turned))
        if any(words[at : at + len(order)] == order for at in range(len(words))):
            return True
        if len(order) > 1 and len(together) >= _RUN_TOGETHER_CHARS_MIN:
            joined = "".join(order)
            if any(joined in word for word in words):
                return True
    return False


def _stands_alone(family: list[str], words: list[str]) -> bool:
    long_enough = len("".join(family)) >= _FAMILY_CHARS_MIN
    return long_enough and any(words[at : at + len(family)] == family for at in range(len(words)))


def _words(text: str) -> list[str]:
    """Return the words of a text without accents, each in small letters."""
    plain = unicodedata.normalize("NFKD", text)
    return _WORD.findall("".join(it for it in plain if not unicodedata.combining(it)).casefold())


def may_spell_a_name(token: str) -> bool:
    """Say whether a gateway's token reads like words, as a name would: `pm_ana_ruiz`, `pm_Quix`.

    The tokens that gateways make themselves are runs of mixed letters and digits.
    """
    spelled = [it for it in _WORD.findall(token) if it.islower() or it.istitle() or it.isupper()]
    words = [it for it in spelled if len(it) >= _NAME_CHARS_MIN]
    if len(words) > 1:
        return True
    return any(len(it) >= _FAMILY_CHARS_MIN for it in words) and not any(map(str.isdigit, token))


def reason_code(reported: str) -> str:
    """Return a gateway's reason where it is a code, without the words of a person."""
    return reported if _CODE.fullmatch(reported) else MASK


def gives_free_reasons(text: str) -> bool:
    """Say whether JSON text gives a reason that is no code."""
    return _FREE_REASON.search(text) is not None


def without_free_reasons(reported: object) -> object:
    """Return what a gateway told in JSON with codes for reasons alone."""
    if isinstance(reported, Mapping):
        return {
            key: reason_code(value) if key in _REASON_KEYS and isinstance(value, str)
            else without_free_reasons(value)
            for key, value in reported.items()
        }  # fmt: skip
    return (
        [without_free_reasons(one) for one in reported] if isinstance(reported, list) else reported
    )


def masked(text: str) -> str:
    """Return text without e-mail addresses."""
    return _ADDRESS.sub(MASK, text)


def without_personal_fields(text: str) -> str:
    """Return what may have been JSON without addresses, telephones and what personal fields say."""
    return _TELEPHONE.sub(MASK, masked(_FIELD.sub(MASK, text)))


def without_personal_data(reported: object) -> object:
    """Return what a partner told in JSON without what says who somebody is."""
    if isinstance(reported, Mapping):
        return {
            key: without_personal_data(value)
            for key, value in reported.items()
            if key not in PERSONAL_KEYS
        }
    if isinstance(reported, list):
        return [without_personal_data(one) for one in reported]
    return masked(reported) if isinstance(reported, str) else reported
