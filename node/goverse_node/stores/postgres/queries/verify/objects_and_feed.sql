-- the newest change of an object is what the object is
SELECT newest.namespace || '/' || newest.type || '/' || encode(newest.id, 'escape') || ' is at version '
    || coalesce(present.version::text, 'none') || ', and the newest change of it made version ' || newest.version
FROM (
    SELECT DISTINCT ON (namespace, type, id) namespace, type, id, version, commit_seq
    FROM goverse.changes ORDER BY namespace, type, id, commit_seq DESC
) AS newest
LEFT JOIN goverse.objects AS present
    ON present.namespace = newest.namespace AND present.type = newest.type AND present.id = newest.id
WHERE (present.version, present.commit_seq) IS DISTINCT FROM (newest.version, newest.commit_seq) LIMIT 5
