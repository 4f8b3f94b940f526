"""What the bank says of a captured payment, and that operations hear of every loss."""

import pytest

from caas.payment_processing import SettlementNotice
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.mortal import KilledError

NOT_PAID = SettlementNotice(settlement_id="one", settled=False, settled_amount=0, currency="EUR")


async def test_a_loss_and_its_alert_are_one_commit(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died between the two left a loss that nobody was ever told of."""
    payment = await installation.settled()
    processing = installation.platform.payment_processing
    bank = processing._settlement._bank
    alert = bank._alert

    async def dies(*_: object, **__: object) -> object:
        monkeypatch.setattr(bank, "_alert", alert)
        raise KilledError

    monkeypatch.setattr(bank, "_alert", dies)
    with pytest.raises(KilledError):
        await processing.record_settlement(payment.id, NOT_PAID)
    between = await installation.platform.tables.payments.get(payment.id)
    again = await processing.record_settlement(payment.id, NOT_PAID)

    cases = await installation.database.fetch("select kind from cases")
    assert (between.state, again.state) == (PaymentState.SETTLED, PaymentState.SETTLEMENT_FAILED)
    assert [row["kind"] for row in cases] == ["settlement_reversed"]
