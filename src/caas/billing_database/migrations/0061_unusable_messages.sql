-- Messages on a vehicle's response topic that are no acknowledgement are counted beside those that
-- prove nothing. They were one line of the log each, and counted nowhere.
--
-- Rule a change must keep: such a message is counted under the empty digest, so that a vehicle has
-- one row an hour and reason, however many it sends.
alter table refused_acknowledgements drop constraint refused_acknowledgements_reason_check;
alter table refused_acknowledgements add constraint refused_acknowledgements_reason_check
  check (reason in (
    'no such command was ever given',
    'it does not say what the command said',
    'the vehicle has no key here',
    'the signature is not the vehicle''s',
    'its topic is no vehicle''s response topic',
    'it is too large',
    'it is not of the agreed form',
    'topic and message name different commands',
    'it could not be handled'
  ));
