-- at most $9 calls of those that ended before $1
SELECT count(*) FROM (
    SELECT FROM unnest($2::text[], $10::bigint[]) AS wanted (state, most_ms)
    JOIN goverse.finished_calls AS kept
        ON kept.state = wanted.state AND kept.finished_ms > (SELECT goverse.now_ms()) - wanted.most_ms
    WHERE kept.finished_ms < $1 AND kept.expires_ms > (SELECT goverse.now_ms())
        AND ($3::text IS NULL OR kept.sender_kind IN (SELECT number FROM goverse.kinds WHERE namespace = $3))
        AND ($4::text IS NULL OR kept.receiver_kind IN (SELECT number FROM goverse.kinds WHERE type = $4))
        AND ($5::bigint IS NULL OR (kept.sender_kind = $5 AND kept.sender_id = $6::bytea))
        AND ($7::bigint IS NULL OR (kept.receiver_kind = $7 AND kept.receiver_id = $8::bytea))
    LIMIT $9
) AS found
