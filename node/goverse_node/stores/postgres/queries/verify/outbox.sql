-- a pending call is complete, of a position that was assigned, in the shard of its sender, and between known kinds
WITH given AS (
    SELECT greatest(
        (SELECT coalesce(max(base), 0) + (1 << 20) FROM goverse.writers),
        (SELECT coalesce(max(last), 0) + 1 FROM goverse.changes),
        (SELECT newest_seq + 1 FROM goverse.feed)
    ) AS below
)
SELECT 'the call at ' || seq || '/' || part || ' of ' || goverse.place(sender_kind, sender_id) || ' to '
    || goverse.place(receiver_kind, receiver_id) || ' is damaged, or in the wrong shard ' || shard
FROM goverse.outbox
WHERE seq < 1 OR seq >= (SELECT below FROM given) OR part NOT BETWEEN 0 AND 9999 OR attempts < 0
    OR substring(content FOR 1) <> '\x01' OR octet_length(content) < 5
    OR shard <> (SELECT goverse.shard_at(hash, shards) FROM goverse.cluster)
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = sender_kind)
    OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = receiver_kind)
LIMIT 5
