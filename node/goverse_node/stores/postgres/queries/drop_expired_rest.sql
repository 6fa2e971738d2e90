DELETE FROM goverse.replies_rest WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM goverse.replies_rest WHERE expires_ms <= goverse.now_ms() LIMIT 1000
))
