-- the kept changes of an object have consecutive versions; if the feed was never trimmed, they start at version 1
SELECT goverse.place(kind, id) || ': version ' || version || ' follows ' || coalesce(earlier::text, 'nothing')
FROM (
    SELECT kind, id, version, lag(version) OVER (PARTITION BY kind, id ORDER BY commit_seq) AS earlier
    FROM goverse.each_change WHERE commit_seq > (SELECT trimmed_seq FROM goverse.feed)
) AS changes
WHERE version <> earlier + 1 OR (earlier IS NULL AND version <> 1 AND (SELECT trimmed_seq = 0 FROM goverse.feed)) LIMIT 5
