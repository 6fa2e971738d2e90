SELECT wanted.place, kept.fingerprint, kept.reply, kept.expires_ms, kept.commit_seq
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
    WITH ORDINALITY AS wanted (namespace, type, id, idempotency_key, place)
JOIN goverse.replies AS kept USING (namespace, type, id, idempotency_key)
WHERE kept.expires_ms > $5
