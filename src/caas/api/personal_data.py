"""Refuses text that says who a customer is, where it would go into books that are never changed.

Rule a change must keep: every free text of a call about a customer's payment, order or use passes
here before it is written; a name and an address are told in the customer's own fields alone.
"""

from uuid import UUID

from caas.api.problems import CallRefusedError
from caas.api.rooms import Rooms
from caas.rules.personal_data import tells_of_a_person


class PersonalDataRefusedError(CallRefusedError):
    """A text names the customer, an e-mail address or a telephone number; send ids instead.

    It would be kept in books that nobody can change, also after the customer is erased.
    """

    code = "personal_data_refused"


async def refuse_personal_data(rooms: Rooms, customer: UUID, *texts: str | None) -> None:
    """Refuse texts that say who this customer is.

    Raises:
        PersonalDataRefusedError: one does.
        CustomerNotFoundError: no customer has this id.
    """
    known = await rooms.order_management.customer(customer)
    for text in texts:
        if text and tells_of_a_person(text, name=known.name, email=known.email):
            raise PersonalDataRefusedError
