-- today and tomorrow have partitions, so that expiry stays cheap
SELECT 'there is no partition ' || parent || '_' || day || '; any node that runs makes it'
FROM goverse.days_to_prepare(1)
WHERE NOT EXISTS (
    SELECT FROM goverse.changes_rest WHERE parent = 'changes' AND changes_rest.day = days_to_prepare.day
) LIMIT 5
