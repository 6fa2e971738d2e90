SELECT (SELECT count(*) FROM goverse.replies_rest WHERE expires_ms <= goverse.now_ms()) AS replies,
    (SELECT count(*) FROM goverse.changes_rest WHERE goverse.is_past(day, $1)) AS changes,
    (SELECT count(*) FROM goverse.finished_calls_rest WHERE expires_ms <= goverse.now_ms()) AS calls
