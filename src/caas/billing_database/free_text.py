"""Rejects free text with personal data before it enters immutable records.

Notes, reasons and external ids end up in append-only tables or documents and outlive the customer's
erasure. They are checked here before they are written, whether they come from the API, the console,
the command line or a file.

Rule a change must keep: all new free text is checked here; `about` is any id that leads to its
customer, whose name is checked as well.
"""

from typing import Final
from uuid import UUID

from caas.billing_database.connection import Connection, Database
from caas.errors import RefusedError
from caas.rules.card_numbers import contains_card_number, contains_iban
from caas.rules.personal_data import MASK, identifies_a_person

PERSON: Final = """
select c.name, c.email, b.name as on_documents
  from customers c left join billing_details b on b.customer = c.id
 where c.id in (
   select $1::uuid union all
   select customer from payments where id = $1 union all
   select customer from orders where id = $1 union all
   select customer from service_orders where id = $1 union all
   select customer from subscriptions where id = $1 union all
   select customer from invoices where id = $1 union all
   select p.customer from discrepancies d join payments p on p.id = d.payment_id where d.id = $1)
"""


class PersonalDataRefusedError(RefusedError):
    """The text contains personal data: a customer's name, e-mail address, phone or account number.

    It would be stored permanently, even after the customer is erased. Use ids instead.
    """

    code = "personal_data_refused"


def refuse_identifying(*texts: str | None) -> None:
    """Reject texts with an e-mail address, telephone or account number.

    Raises:
        PersonalDataRefusedError: one of them does.
    """
    for text in texts:
        if text and (
            identifies_a_person(text, name=None, email=None)
            or contains_iban(text)
            or contains_card_number(text)
        ):
            raise PersonalDataRefusedError


async def refuse_personal_data(
    by: Database | Connection, about: UUID | None, *texts: str | None
) -> None:
    """Reject texts with personal data, including the name of the customer of `about`.

    Raises:
        PersonalDataRefusedError: one of them does.
    """
    refuse_identifying(*texts)
    if about is not None and await _names_person(by, about, *texts):
        raise PersonalDataRefusedError


async def without_person(by: Database | Connection, about: UUID, text: str) -> str:
    """Return external text with the customer's personal data masked."""
    try:
        await refuse_personal_data(by, about, text)
    except PersonalDataRefusedError:
        return MASK
    return text


async def _names_person(by: Database | Connection, about: UUID, *texts: str | None) -> bool:
    person = await by.fetchrow(PERSON, about)
    return person is not None and any(
        identifies_a_person(text, name=name, email=person["email"])
        for text in filter(None, texts)
        for name in (person["name"], person["on_documents"])
    )
