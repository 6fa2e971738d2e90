SELECT wanted.place, ''::bytea AS fingerprint, kept.expires_ms - goverse.now_ms() AS left_ms,
    kept.reply[array_position(kept.number, wanted.number)] AS reply,
    kept.base + kept.ordinal[array_position(kept.number, wanted.number)] AS commit_seq
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (router, number, place)
JOIN goverse.router_replies AS kept
    ON kept.router = wanted.router AND kept.high >= wanted.number AND kept.low <= wanted.number
WHERE wanted.number = ANY (kept.number) AND kept.expires_ms > goverse.now_ms()
