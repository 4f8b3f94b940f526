-- What every format must fulfil, line by line (decision 33): a line that does not is quarantined
-- with its reason, and the rest goes on. Texts go into paths, keys and logs: they have an alphabet,
-- the one that a transaction's own id has when it is taken in (seed_contract_wire.Id).
create temp table checked as
from reported t
select t.*,
       case
         when refused is not null then refused
         when not coalesce(regexp_full_match(line_no, '[1-9]\d{0,17}'), false)
           then 'its line number is no whole number above zero'
         when not coalesce(regexp_full_match(batch_id, '[A-Za-z0-9][!-~]{0,199}'), false)
           then 'its batch is no identifier'
         when not regexp_full_match(coalesce(line_id, 'x'), '[A-Za-z0-9][!-~]{0,199}')
           then 'its own identifier is none'
         when not regexp_full_match(coalesce(transaction_id, 'x'), '[A-Za-z0-9][!-~]{0,199}')
           then 'its transaction is no identifier'
         when not regexp_full_match(coalesce(reference, 'x'), '[A-Za-z0-9][!-~]{0,199}')
           then 'its reference is no identifier'
         when (contains(batch_id, '@') or contains(line_id, '@')  -- spares most lines the pattern
               or contains(transaction_id, '@') or contains(reference, '@'))
          and regexp_matches(concat_ws(' ', batch_id, line_id, transaction_id, reference),
                             '[^ @]@[^ @]+\.[^ @]')
           then 'it holds an e-mail address'
         when type is null or type not in ('settlement', 'refund', 'refund_reversal', 'chargeback',
              'chargeback_reversal', 'fee', 'settlement_failure', 'adjustment', 'cost', 'tax',
              'invoice', 'reserve', 'transfer', 'carried', 'conversion')
           then 'nothing is known of its type'
         when currency is null or not exists (from currencies c where c.code = t.currency)
           then 'its currency is unknown'
         when not coalesce(regexp_full_match(gross, '-?\d{1,15}'), false)
           then 'its gross is no amount of its currency'
         when not coalesce(regexp_full_match(fee, '-?\d{1,15}'), false)
           then 'its fee is no amount of its currency'
         when not coalesce(regexp_full_match(net, '-?\d{1,15}'), false)
           then 'its net is no amount of its currency'
         when cast(gross as bigint) - cast(fee as bigint) <> cast(net as bigint)
           then 'gross - fee is not net'
         when booked_at is null then 'the time it was booked at is none'
         when value_date is null then 'its value date is none'
       end as reason
