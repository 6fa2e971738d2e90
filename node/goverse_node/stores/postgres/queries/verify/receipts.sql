-- a receipt has an outcome for each call that it keeps, in order up to the last one, which is of an assigned position; no pending
-- call is below the floor up to which receipts are removed
WITH given AS (
    SELECT goverse.call_number(greatest(
        (SELECT coalesce(max(base), 0) + (1 << 20) FROM goverse.writers),
        (SELECT coalesce(max(last), 0) + 1 FROM goverse.changes),
        (SELECT newest_seq + 1 FROM goverse.feed)
    ), 0) AS below
)
(SELECT goverse.place(receiver_kind, receiver_id) || ' has a damaged receipt for ' || goverse.place(sender_kind, sender_id)
    || ', up to call ' || last
FROM goverse.receipts
WHERE last < 1 OR last >= (SELECT below FROM given) OR cardinality(numbers) <> cardinality(outcomes)
    OR numbers[cardinality(numbers)] <> last
    OR numbers <> ARRAY(SELECT DISTINCT number FROM unnest(numbers) AS number ORDER BY number)
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = sender_kind)
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = receiver_kind)
LIMIT 5)
UNION ALL
(SELECT 'the call at ' || seq || '/' || part || ' of ' || goverse.place(sender_kind, sender_id)
    || ' would be taken for one that was settled long ago'
FROM goverse.outbox
WHERE goverse.call_number(seq, part) <= (SELECT floor FROM goverse.receipt_rounds)
    AND goverse.call_number(seq, part) <= goverse.floor_of(hash) AND NOT goverse.is_note(content)
LIMIT 5)
