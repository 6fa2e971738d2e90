SELECT commit_seq, namespace, type, id, version, state, at_ms FROM goverse.changes
WHERE commit_seq > $1 AND commit_seq < goverse.horizon()
ORDER BY commit_seq LIMIT $2
