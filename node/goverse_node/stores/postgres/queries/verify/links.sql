-- a kept change points to the change before it, and to the latest one before it whose version is a multiple of 64
SELECT goverse.place(kind, id) || ': version ' || version || ' points to ' || previous_seq || ' and ' || anchor_seq
FROM (
    SELECT kind, id, version, previous_seq, anchor_seq, lag(commit_seq) OVER each_object AS earlier,
        max(commit_seq) FILTER (WHERE version & 63 = 0)
            OVER (each_object ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS anchor
    FROM goverse.each_change WHERE commit_seq > (SELECT trimmed_seq FROM goverse.feed)
    WINDOW each_object AS (PARTITION BY kind, id ORDER BY commit_seq)
) AS changes
WHERE previous_seq <> earlier OR anchor_seq <> anchor LIMIT 5
