"""Refuses free text that says who somebody is, where it would go into what is never changed.

A note, a reason, an id of another system: whatever somebody types or sends ends in an append-only
table or a document, and stays when its customer is erased. Each is looked at here before it is
written, whether it came by the API, the console, the command line or a file.

Rule a change must keep: a free text that is new passes here; `about` is any id that leads to its
customer, whose own name is looked for beside addresses and telephone numbers.
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
    """A text names the customer, an e-mail address, a telephone or an account number; send ids.

    It would be kept in books that nobody can change, also after the customer is erased.
    """

    code = "personal_data_refused"


def refuse_identifying(*texts: str | None) -> None:
    """Refuse texts that hold an address or a number by which anybody can be found.

    Raises:
        PersonalDataRefusedError: one does.
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
    """Refuse texts that say who somebody is, above all the customer whom `about` leads to.

    Raises:
        PersonalDataRefusedError: one does.
    """
    refuse_identifying(*texts)
    if about is not None and await _names_person(by, about, *texts):
        raise PersonalDataRefusedError


async def without_person(by: Database | Connection, about: UUID, text: str) -> str:
    """Return what somebody outside says, masked where it says who the customer is."""
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
