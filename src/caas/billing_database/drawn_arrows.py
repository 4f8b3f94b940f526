"""The arrows of every state diagram as the rules draw them, against those the database keeps.

Rule a change must keep: the rules are read, never copied.
"""

from typing import Final

from caas.rules import order_states, payment_states, subscription_states, vehicle_states

_ARROWS = ", ".join(
    f"('{table}', '{source}', '{event}', '{target}')"
    for table, arrows in (
        ("legal_arrows", payment_states.legal_arrows()),
        ("legal_arrows", [(s, r, s) for s in payment_states.PaymentState
                          for r in payment_states.Remark]),
        ("vehicle_arrows", vehicle_states.legal_arrows()),
        ("order_arrows", order_states.legal_arrows()),
        ("subscription_arrows", subscription_states.legal_arrows()),
    )
    for source, event, target in arrows
)  # fmt: skip
DIFFER: Final = f"""with drawn (of_table, from_state, event, to_state) as (values {_ARROWS}),
    kept as (
      select 'legal_arrows' as of_table, from_state, event, to_state from legal_arrows
      union all select 'vehicle_arrows', from_state, event, to_state from vehicle_arrows
      union all select 'order_arrows', from_state, event, to_state from order_arrows
      union all
      select 'subscription_arrows', from_state, event, to_state from subscription_arrows)
    select concat_ws(', ', a.of_table, a.from_state, a.event, a.to_state) from (
      (table drawn except table kept) union all (table kept except table drawn)) a"""
