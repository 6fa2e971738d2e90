-- version and position of an object are those of its newest change
SELECT goverse.place(newest.kind, newest.id) || ' is at version ' || coalesce(present.version::text, 'none')
    || ', and the newest change of it made version ' || newest.version
FROM (
    SELECT DISTINCT ON (kind, id) kind, id, version, commit_seq FROM goverse.each_change
    WHERE (SELECT kept AND commit_seq > trimmed_seq FROM goverse.feed)
    ORDER BY kind, id, commit_seq DESC
) AS newest
LEFT JOIN goverse.objects AS present USING (kind, id)
WHERE (present.version, present.commit_seq) IS DISTINCT FROM (newest.version, newest.commit_seq) LIMIT 5
