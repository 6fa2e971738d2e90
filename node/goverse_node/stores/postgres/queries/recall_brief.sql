SELECT wanted.place, kept.fingerprint, kept.reply, kept.expires_ms - goverse.now_ms() AS left_ms, kept.commit_seq
FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS wanted (kind, id, idempotency_key, place)
JOIN goverse.brief_replies AS kept USING (kind, id, idempotency_key)
WHERE kept.expires_ms > goverse.now_ms()
