-- today and tomorrow have partitions, so that expiry is cheap
SELECT 'partition ' || parent || '_' || day || ' is missing; any running node creates it'
FROM goverse.days_to_prepare(1)
WHERE NOT EXISTS (
    SELECT FROM goverse.changes_rest WHERE parent = 'changes' AND changes_rest.day = days_to_prepare.day
) LIMIT 5
