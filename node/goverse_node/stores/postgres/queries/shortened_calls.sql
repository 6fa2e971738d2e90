SELECT count(*)
FROM unnest($1::text[], $2::bigint[]) AS wanted (state, most_ms)
JOIN goverse.finished_calls AS kept
    ON kept.state = wanted.state AND kept.finished_ms <= (SELECT goverse.now_ms()) - wanted.most_ms
WHERE kept.expires_ms > kept.finished_ms + wanted.most_ms
