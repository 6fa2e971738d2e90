-- the newest calls first, before the call that ended at $1 with the id $2
SELECT found.*, namespace, type
FROM unnest($3::text[], $11::bigint[]) AS wanted (state, most_ms)
CROSS JOIN LATERAL (
    SELECT state, finished_ms, id, expires_ms, attempts, sender_kind, sender_id, content, outcome
    FROM goverse.finished_calls AS kept
    WHERE kept.state = wanted.state AND (kept.finished_ms, kept.id) < ($1::bigint, $2::bytea)
        AND kept.expires_ms > (SELECT goverse.now_ms()) AND kept.finished_ms > (SELECT goverse.now_ms()) - wanted.most_ms
        AND ($4::text IS NULL OR kept.sender_kind IN (SELECT number FROM goverse.kinds WHERE namespace = $4))
        AND ($5::text IS NULL OR kept.receiver_kind IN (SELECT number FROM goverse.kinds WHERE type = $5))
        AND ($6::bigint IS NULL OR (kept.sender_kind = $6 AND kept.sender_id = $7::bytea))
        AND ($8::bigint IS NULL OR (kept.receiver_kind = $8 AND kept.receiver_id = $9::bytea))
    ORDER BY kept.finished_ms DESC, kept.id DESC LIMIT $10
) AS found
JOIN goverse.kinds ON number = found.sender_kind
ORDER BY finished_ms DESC, id DESC LIMIT $10
