-- per object the changes that are kept follow one another; the first is the very first where nothing was trimmed
SELECT namespace || '/' || type || '/' || encode(id, 'escape') || ': version ' || version || ' follows '
    || coalesce(earlier::text, 'nothing')
FROM (
    SELECT namespace, type, id, version, lag(version) OVER (PARTITION BY namespace, type, id ORDER BY commit_seq) AS earlier
    FROM goverse.changes
) AS changes
WHERE version <> earlier + 1 OR (earlier IS NULL AND version <> 1 AND (SELECT trimmed_seq = 0 FROM goverse.feed)) LIMIT 5
