-- every object has a version and a position from 1, and a kind with a name
SELECT goverse.place(kind, id) || ' has version ' || version || ' at ' || commit_seq
FROM goverse.objects WHERE version < 1 OR commit_seq < 1 OR NOT EXISTS (SELECT FROM goverse.kinds WHERE number = kind) LIMIT 5
