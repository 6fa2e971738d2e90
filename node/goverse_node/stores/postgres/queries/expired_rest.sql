SELECT count(*) FROM goverse.replies_rest WHERE expires_ms <= $1
