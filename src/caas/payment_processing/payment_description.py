"""What the gateway's page says is bought (external gateway API, `POST /transactions`, description).

Rules a change must keep: it is written in the customer's language, from the names of the moment at
which the payment is asked for, and kept with the intent, because a call that is sent again under
the same key has to say the same; where no page is shown nobody is asked what things are called.
"""

import dataclasses
from typing import Final

from caas.billing_database import display_names
from caas.billing_database.tables import BillingDatabase
from caas.notifications import texts
from caas.payment_processing.initiation import PaymentRequest

METHOD: Final = "method"


async def described(tables: BillingDatabase, request: PaymentRequest, what: str) -> PaymentRequest:
    """Return a request that says what is bought; `what` is a payment type or `METHOD`."""
    if request.payment_method is not None or request.description is not None:
        return request
    found = await display_names.bought(
        tables.database, customer=request.customer, subject=request.subject
    )
    if found is None or found.name is None:
        return request
    stated = texts.bought(what, language=found.language, name=found.name, days=found.days or 0)
    return dataclasses.replace(request, description=stated)
