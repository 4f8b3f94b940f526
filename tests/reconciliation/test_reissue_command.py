"""A document is issued again from the command line, by its number."""

from caas.billing.buyers import checked_details
from caas.billing_database.customers import BillingDetailsRows
from tests.buyers import AT_HOME
from tests.reconciliation.office import Office
from tests.reconciliation.test_command_line import Caas, caas, installation_rows  # noqa: F401


async def test_a_document_is_issued_again_by_its_number(
    office: Office,
    caas: Caas,  # noqa: F811
) -> None:
    platform = office.installation.platform
    payment = await office.installation.settled()
    await platform.issuing.issue_due()
    (wrong,) = await platform.invoices.invoices(subject=payment.subject)
    details = BillingDetailsRows(office.installation.database)
    await details.put(payment.customer, checked_details(**AT_HOME))
    asked = ("documents", "reissue", wrong.full_number, "--reason", "No address.", "--by", "Ana")

    done = await caas(*asked)
    again = await caas(*asked)
    unknown = await caas("documents", "reissue", "S1999-000001", "--reason", "x", "--by", "Ana")

    new, note, _ = await platform.invoices.invoices(subject=payment.subject)
    assert done.status == 0, done.err
    assert note.full_number in done.out
    assert new.full_number in done.out
    assert (again.status, "Only a paid document" in again.err) == (4, True)
    assert "No document has the number" in unknown.err
