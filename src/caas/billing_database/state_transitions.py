"""The arrows of every state diagram as the rules draw them, against those the database keeps.

Rule a change must keep: the rules are read, never copied.
"""

from typing import Final

from caas.rules import order_states, payment_states, subscription_states, vehicle_states

_ARROWS = ", ".join(
    f"('{table}', '{source}', '{event}', '{target}')"
    for table, arrows in (
        ("payment_transitions", payment_states.payment_transitions()),
        ("payment_transitions", [(s, r, s) for s in payment_states.PaymentState
                          for r in payment_states.Remark]),
        ("vehicle_transitions", vehicle_states.transitions()),
        ("order_transitions", order_states.transitions()),
        ("subscription_transitions", subscription_states.transitions()),
    )
    for source, event, target in arrows
)  # fmt: skip
DIFFER: Final = f"""with drawn (of_table, from_state, event, to_state) as (values {_ARROWS}),
    kept as (
      select 'payment_transitions' as of_table, from_state, event, to_state from payment_transitions
      union all select 'vehicle_transitions', from_state, event, to_state from vehicle_transitions
      union all select 'order_transitions', from_state, event, to_state from order_transitions
      union all
      select 'subscription_transitions', from_state, event, to_state from subscription_transitions)
    select concat_ws(', ', a.of_table, a.from_state, a.event, a.to_state) from (
      (table drawn except table kept) union all (table kept except table drawn)) a"""
