-- The first five senders of calls that the database already contains. The numbers of pending calls are compared without their
-- shards and senders, because a node reads the calls of many shards in the order of the numbers.
SELECT goverse.place(sender_kind, sender_id) FROM (
    SELECT loaded.sender_kind, loaded.sender_id FROM loaded_outbox AS loaded JOIN goverse.outbox USING (seq, part)
    UNION
    SELECT sender_kind, sender_id FROM loaded_receipts
    JOIN goverse.receipts USING (receiver_kind, receiver_id, sender_kind, sender_id)
    UNION
    SELECT sender_kind, sender_id FROM loaded_finished_calls JOIN goverse.finished_calls USING (sender_kind, sender_id, id)
) AS known
LIMIT 5
