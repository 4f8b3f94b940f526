"""What a person sent with a form: text fields, checked before anybody reads them.

Rules a change must keep: no field takes a card number or an IBAN, whatever the field is for
(decision 24); what was refused is neither stored, nor logged, nor shown again; every text has a
limit.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from caas.errors import RefusedError
from caas.rules.card_numbers import contains_card_number, contains_iban

FORM: Final = b"application/x-www-form-urlencoded"
FIELDS_MAX: Final = 60
FIELD_CHARS_MAX: Final = 4_000


class CardNumberRefusedError(RefusedError):
    """There is a card number or an IBAN in the form; it belongs on the gateway's page alone."""

    code = "card_number_refused"


class MalformedFormError(RefusedError):
    """This is not a form of ours."""

    code = "malformed_form"
    http_status = 400


class ForeignFormError(RefusedError):
    """The form is too old, or was not one of ours."""

    code = "foreign_form"
    http_status = 403


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form that was sent.

    Raises:
        MalformedFormError: it cannot be read, has a field twice, or is more than any of ours.
        CardNumberRefusedError: there is a card number or an IBAN in a field.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body),
            max_num_fields=FIELDS_MAX, encoding="utf-8", errors="strict",
        )  # fmt: skip
    except ValueError as error:
        raise MalformedFormError from error
    refuse_card_numbers(value for pair in pairs for value in pair)
    form = dict(pairs)
    twice = len(form) != len(pairs)
    if twice or any(len(value) > FIELD_CHARS_MAX or "\x00" in value for _, value in pairs):
        raise MalformedFormError
    return form


def read_query(query: bytes) -> dict[str, str]:
    """Return what stands behind the question mark of an address; too much of it is left out.

    Raises:
        CardNumberRefusedError: there is a card number or an IBAN in it.
    """
    try:
        pairs = parse_qsl(query.decode("latin-1"), max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    refuse_card_numbers(value for pair in pairs for value in pair)
    return {name: value for name, value in pairs if len(value) <= FIELD_CHARS_MAX}


def refuse_card_numbers(texts: Iterable[str]) -> None:
    """Refuse texts with a card number or an IBAN among them.

    Raises:
        CardNumberRefusedError: there is one.
    """
    for text in texts:
        if contains_card_number(text) or contains_iban(text):
            raise CardNumberRefusedError


def filled(form: Mapping[str, str], name: str, *, chars_max: int) -> str | None:
    """Return a field's text without blanks around it; None when it is empty or too long."""
    text = " ".join(form.get(name, "").split())
    return text if 0 < len(text) <= chars_max else None
