DELETE FROM goverse.finished_calls_rest WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM goverse.finished_calls_rest WHERE expires_ms <= goverse.now_ms() LIMIT 1000
))
