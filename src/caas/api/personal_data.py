"""Rejects free text that identifies a customer (`caas.billing_database.free_text`).

Rule a change must keep: all free text about a customer's payment, order or usage is checked here
before it is stored; names and addresses belong in the customer's own fields.
"""

from uuid import UUID

from caas.billing_database import free_text
from caas.platform import Platform
from caas.rules.personal_data import may_spell_a_name


async def refuse_personal_data(platform: Platform, customer: UUID, *texts: str | None) -> None:
    """Reject texts that identify this customer.

    Raises:
        PersonalDataRefusedError: one of them does.
    """
    await free_text.refuse_personal_data(platform.tables.database, customer, *texts)


async def refuse_named_token(platform: Platform, customer: UUID, token: str | None) -> None:
    """Reject a payment method token that spells this customer's name.

    Tokens that do not look like words are not compared.

    Raises:
        PersonalDataRefusedError: the token contains the name.
    """
    if token is not None and may_spell_a_name(token):
        await refuse_personal_data(platform, customer, token)
