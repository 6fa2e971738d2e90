-- calls behind the one of shard $1 at position $2, part $3, in this order
SELECT pending.shard, seq, part, sender_kind, sender_id, content, attempts, void, namespace, type
FROM goverse.outbox AS pending JOIN goverse.kinds ON number = sender_kind
WHERE (pending.shard, seq, part) > ($1, $2, $3)
    AND ($4::integer IS NULL OR pending.shard = $4)
    AND ($5::text IS NULL OR namespace = $5)
    AND ($6::text IS NULL OR receiver_kind IN (SELECT number FROM goverse.kinds WHERE type = $6))
    AND ($7::bigint IS NULL OR (sender_kind = $7 AND sender_id = $8::bytea))
    AND ($9::bigint IS NULL OR (receiver_kind = $9 AND receiver_id = $10::bytea))
ORDER BY pending.shard, seq, part LIMIT $11
