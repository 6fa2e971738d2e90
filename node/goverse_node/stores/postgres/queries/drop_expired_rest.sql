DELETE FROM goverse.replies_rest WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM goverse.replies_rest WHERE expires_ms <= $1 LIMIT 1000
))
