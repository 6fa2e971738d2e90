-- a finished call has one of the states, and known kinds
SELECT 'the finished call ' || encode(id, 'escape') || ' of ' || goverse.place(sender_kind, sender_id) || ' is damaged'
FROM goverse.finished_calls
WHERE state NOT IN ('success', 'failed', 'expired', 'cancelled', 'dead') OR substring(content FOR 1) <> '\x01'
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = sender_kind)
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = receiver_kind)
LIMIT 5
