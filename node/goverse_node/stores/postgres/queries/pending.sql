-- up to $4 calls of each shard behind the call at position $2, part $3
SELECT found.*, namespace, type
FROM unnest($1::integer[]) AS wanted (shard)
CROSS JOIN LATERAL (
    SELECT shard, seq, part, sender_kind, sender_id, content, attempts, void FROM goverse.outbox AS pending
    WHERE pending.shard = wanted.shard AND (pending.seq, pending.part) > ($2, $3)
    ORDER BY pending.seq, pending.part LIMIT $4
) AS found
JOIN goverse.kinds ON number = found.sender_kind
ORDER BY seq, part
