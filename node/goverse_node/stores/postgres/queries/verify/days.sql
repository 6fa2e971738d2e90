-- today and tomorrow have partitions, so that expiry stays cheap
SELECT 'there is no partition ' || parent || '_' || day || '; any node that runs makes it'
FROM unnest(ARRAY['changes', 'replies']) AS parent, generate_series(goverse.today(), goverse.today() + 1) AS day
WHERE to_regclass(format('goverse.%I', parent || '_' || day)) IS NULL LIMIT 5
