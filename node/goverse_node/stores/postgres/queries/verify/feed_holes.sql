-- per object the changes that are kept follow one another; the first is the very first where nothing was trimmed
SELECT goverse.place(kind, id) || ': version ' || version || ' follows ' || coalesce(earlier::text, 'nothing')
FROM (
    SELECT kind, id, version, lag(version) OVER (PARTITION BY kind, id ORDER BY commit_seq) AS earlier
    FROM goverse.each_change WHERE commit_seq > (SELECT trimmed_seq FROM goverse.feed)
) AS changes
WHERE version <> earlier + 1 OR (earlier IS NULL AND version <> 1 AND (SELECT trimmed_seq = 0 FROM goverse.feed)) LIMIT 5
