SELECT CASE WHEN $2::text IS NULL THEN format('CREATE ROLE %I LOGIN', $1::text)
    ELSE format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text) END
