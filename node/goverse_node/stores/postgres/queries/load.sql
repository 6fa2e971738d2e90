SELECT wanted.place, present.version, present.state, present.state_version, present.commit_seq, present.modified_ms,
    present.creation
FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS wanted (kind, id, place)
JOIN goverse.objects AS present USING (kind, id)
