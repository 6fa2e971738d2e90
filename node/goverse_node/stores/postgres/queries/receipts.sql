SELECT wanted.place, kept.last::text, kept.numbers::text[], kept.outcomes
FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[]) WITH ORDINALITY
    AS wanted (receiver_kind, receiver_id, sender_kind, sender_id, place)
JOIN goverse.receipts AS kept USING (receiver_kind, receiver_id, sender_kind, sender_id)
