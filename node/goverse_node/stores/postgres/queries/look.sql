SELECT generation::text, written_at <> goverse.place_of_feed(feed.xmin) AS restored,
    (SELECT batch FROM goverse.writers WHERE number = $1 ORDER BY batch DESC LIMIT 1) AS batch,
    EXISTS (
        SELECT FROM unnest($2::integer[], $3::bigint[]) AS made (shard, epoch)
        LEFT JOIN goverse.shards AS present USING (shard)
        WHERE present.epoch IS NULL OR present.epoch < made.epoch
            OR (present.epoch = made.epoch AND present.owner <> $4)
    ) AS lost_claims
FROM goverse.feed
