"""Refuses text of a call that says who a customer is (`caas.billing_database.free_text`).

Rule a change must keep: every free text of a call about a customer's payment, order or use passes
here before it is written; a name and an address are told in the customer's own fields alone.
"""

from uuid import UUID

from caas.api.rooms import Rooms
from caas.billing_database import free_text


async def refuse_personal_data(rooms: Rooms, customer: UUID, *texts: str | None) -> None:
    """Refuse texts that say who this customer is.

    Raises:
        PersonalDataRefusedError: one does.
    """
    await free_text.refuse_personal_data(rooms.books.database, customer, *texts)
