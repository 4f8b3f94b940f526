"""Invariants of documents: every payment has its own, and they agree with the ledger."""

from typing import Final

from caas.billing_database.covered_notes import STANDING

DUE: Final = "exists (select from documents_due d where d.payment_id = p.id)"
"""A document of this payment is still due, now or once its open case is resolved."""
MONEY_MOVES: Final = """
  (exists (select from refunds f where f.payment_id = p.id and f.state in ('waiting', 'sent'))
   or exists (select from jobs w where w.kind = 'refund_credit_note'
                and w.subject in (select n.id from invoices n join invoices c on c.id = n.corrects
                  where c.payment_id = p.id or c.id = p.subject))
   or exists (select from jobs w where w.kind = 'promised_refund'
                and w.payload->>'payment' = p.id::text))
"""
"""Refunds that are taxed when sent but documented only when they succeed."""
OF_PAYMENT: Final = """
  select i.id from invoices i where i.payment_id = p.id and i.kind <> 'invoice'
   union all select i.id from invoices i where i.id = p.subject and p.type = 'subscription'
"""

DOCUMENTS: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "every_payment_has_its_document",
        "Every captured payment has one document for its amount, and every refund a credit note.",
        f"""select p.id from payments p join payment_taxes t on t.payment_id = p.id
            where p.captured_amount > 0 and not {DUE}
              and 1 <> (select count(*) from invoices i
                         where i.id = any (array({OF_PAYMENT})) and i.gross = p.captured_amount)
           union all
           select f.id from refunds f join payments p on p.id = f.payment_id
             join payment_taxes t on t.payment_id = p.id
            where f.state = 'succeeded' and not {DUE}
              and not exists (select from invoices n where n.refund = f.id)""",
    ),
    (
        "held_documents_have_a_case",
        "Every document on hold has an open case that names who must act.",
        """select d.payment_id from documents_due d
            where d.held and not exists (select from cases c
              where c.kind = d.case_kind and c.subject = d.payment_id and c.status = 'open')""",
    ),
    (
        "full_documents_name_their_buyer",
        "A full invoice names its buyer, with the tax id where the market requires it.",
        """select i.id from invoices i join markets m on m.code = i.market
             left join document_buyers b on b.invoice = i.id
            where i.issued_at > (select min(ran_at) from migrations)
              and i.kind in ('advance invoice', 'vehicle invoice', 'service invoice')
              and not i.simplified and is_kept_by_law(i)
              and (not coalesce(b.buyer ?& array['name', 'street', 'postcode', 'city', 'country'],
                                false) or m.buyer_tax_id and not b.buyer ? 'tax_id')""",
    ),
    (
        "every_document_was_sent",
        "Every document of a payment or refund was sent to its customer on issue.",
        """select i.id from invoices i
            where i.issued_at > (select min(ran_at) from migrations)
              and i.kind <> 'invoice'
              and not exists (select from notifications n
                where n.subject = i.id and n.template in ('document_sent', 'credit_note_sent'))""",
    ),
    (
        "every_document_has_its_payment",
        "Every payment document belongs to a captured payment of the same customer.",
        """select i.id from invoices i left join payments p on p.id = i.payment_id
            where i.kind not in ('invoice', 'credit note')
              and (p.customer is distinct from i.customer or p.subject <> i.subject
                   or p.captured_amount < i.gross or p.currency <> i.currency)
           union all
           select n.id from invoices n left join invoices i on i.id = n.corrects
            where n.kind = 'credit note'
              and (i.kind is null or i.kind = 'credit note' or n.currency <> i.currency
                   or n.customer <> i.customer)
           union all
           select i.id from invoices i join invoices n on n.corrects = i.id
            group by i.id having i.gross + sum(n.gross) < 0 or i.iva + sum(n.iva) < 0""",
    ),
    (
        "tax_on_documents_is_output_vat",
        "The tax on a payment's documents equals its balance on the output tax account.",
        f"""select p.id from payments p join payment_taxes t on t.payment_id = p.id
             left join lateral (
               select sum(case when e.credit = 'output_vat' then e.amount else -e.amount end) as tax
                 from ledger_entries e
                where e.payment_id = p.id and 'output_vat' in (e.debit, e.credit)) l on true
             left join lateral (
               select sum(i.iva) as tax from invoices i
                where i.id = any (array({OF_PAYMENT}))
                   or i.corrects = any (array({OF_PAYMENT}))) d on true
            where not {DUE} and not {MONEY_MOVES} and coalesce(l.tax, 0) <> coalesce(d.tax, 0)""",
    ),
    (
        "credit_notes_are_paid_back",
        "The amount of every credit note is refunded, promised or covered by a loss.",
        f"""select n.id from ({STANDING}) n
            where n.owed <> n.given_back + n.promised + n.covered
              and not exists (select from cases c
                where c.subject = n.payment_id and c.kind = 'refund_failed')
              or n.covered < 0""",
    ),
    (
        "documents_are_as_issued",
        "Every document and its recipient are unchanged since issue.",
        """select i.id from invoices i
            where i.digest is not null and i.digest <> digest_of_document(i)
           union all
           select i.id from invoices i join document_buyers b on b.invoice = i.id
            where i.digest is not null
              and i.buyer_digest is distinct from sha256(convert_to(b.buyer::text, 'UTF8'))
           union all
           select i.id from invoices i
            where not i.simplified and i.buyer_digest is not null and is_kept_by_law(i)
              and not exists (select from document_buyers b where b.invoice = i.id)""",
    ),
)
