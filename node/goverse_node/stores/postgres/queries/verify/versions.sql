-- versions begin at 1 and grow by 1; a position belongs to each
SELECT namespace || '/' || type || '/' || encode(id, 'escape') || ' has version ' || version || ' at ' || commit_seq
FROM goverse.objects WHERE version < 1 OR commit_seq < 1 LIMIT 5
