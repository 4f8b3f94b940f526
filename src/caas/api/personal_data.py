"""Refuses text of a call that says who a customer is (`caas.billing_database.free_text`).

Rule a change must keep: every free text of a call about a customer's payment, order or use passes
here before it is written; a name and an address are told in the customer's own fields alone.
"""

from uuid import UUID

from caas.billing_database import free_text
from caas.platform import Platform
from caas.rules.personal_data import may_spell_a_name


async def refuse_personal_data(platform: Platform, customer: UUID, *texts: str | None) -> None:
    """Refuse texts that say who this customer is.

    Raises:
        PersonalDataRefusedError: one does.
    """
    await free_text.refuse_personal_data(platform.tables.database, customer, *texts)


async def refuse_named_token(platform: Platform, customer: UUID, token: str | None) -> None:
    """Refuse the token of a payment method that spells this customer's name.

    A token that does not read like words is not compared: each purchase brings one.

    Raises:
        PersonalDataRefusedError: it does.
    """
    if token is not None and may_spell_a_name(token):
        await refuse_personal_data(platform, customer, token)
