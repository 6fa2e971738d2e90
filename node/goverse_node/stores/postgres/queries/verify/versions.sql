-- versions begin at 1 and grow by 1; a position belongs to each, and a name to each kind
SELECT goverse.place(kind, id) || ' has version ' || version || ' at ' || commit_seq
FROM goverse.objects WHERE version < 1 OR commit_seq < 1 OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = kind) LIMIT 5
