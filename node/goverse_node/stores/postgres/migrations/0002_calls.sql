-- serves: 1
-- Reliable calls: outboxes, receipts and finished calls, and the functions that write them. A batch that has effects is
-- committed by the functions of 0001 and those of this file in one statement; one without calls the former alone.
--
-- Also two changes of tables of 0001, so that a snapshot that is held open does not slow down commits. The old versions of a row
-- cannot be removed meanwhile, and a lookup by key passes all of them if the key stays the same.

-- A dump locks its tables for hours, and commits queue behind a request for a lock. So the migration gives up soon.
SET LOCAL lock_timeout = '2s';

-- begin_batch looks for the latest batch, so with the batch in the key it finds one version. Numbers are random, so they stay
-- unique without a constraint.
ALTER TABLE goverse.writers DROP CONSTRAINT writers_pkey, ADD PRIMARY KEY (number, batch), RESET (fillfactor);

-- Each commit adds a row of its own to the count instead of updating its writer's. goverse.fold_counts adds them up.
CREATE FUNCTION goverse.count_apart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.writer := -(pg_current_xact_id()::text::bigint);
    RETURN NEW;
END
$$;
CREATE TRIGGER count_apart BEFORE INSERT ON goverse.living FOR EACH ROW WHEN (NEW.writer > 0)
    EXECUTE FUNCTION goverse.count_apart();
ALTER TABLE goverse.living RESET (fillfactor);
COMMENT ON TABLE goverse.living IS
    'How many objects exist: the sum of n. A commit that creates and deletes objects adds a row of its own, under its transaction''s '
    'number, negative. They are folded into the rows of writer 0.';

CREATE FUNCTION goverse.fold_counts() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(71024, 2) THEN  -- another process is at it
        RETURN;
    END IF;
    WITH gone AS (DELETE FROM goverse.living WHERE writer < 0 RETURNING kind, n)
    INSERT INTO goverse.living AS counted (kind, writer, n) SELECT kind, 0, sum(n) FROM gone GROUP BY kind
    ON CONFLICT (kind, writer) DO UPDATE SET n = counted.n + excluded.n;
END
$$;

CREATE TABLE goverse.outbox (
    shard integer NOT NULL,
    part integer NOT NULL,
    seq bigint NOT NULL,
    hash bigint NOT NULL,
    due_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    sender_kind bigint NOT NULL,
    receiver_kind bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    void text COLLATE "C" NOT NULL DEFAULT '',
    sender_id bytea NOT NULL,
    receiver_id bytea NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (shard, seq, part)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.2, autovacuum_analyze_scale_factor = 0.2);
COMMENT ON TABLE goverse.outbox IS
    'Pending calls, in the shards of their senders. A node reads a shard once, when it begins to serve it. Rows are inserted and '
    'deleted, and updated only by marks.';
COMMENT ON COLUMN goverse.outbox.seq IS 'The position of the commit that sent the call; part is its place among the calls of it';
COMMENT ON COLUMN goverse.outbox.hash IS 'The hash of the sender. With another number of shards, the shard follows from it';
COMMENT ON COLUMN goverse.outbox.attempts IS 'From the latest mark, as void is: why the call must not run any more, or empty';
COMMENT ON COLUMN goverse.outbox.content IS 'The call as its sender committed it; due_ms and expires_ms repeat parts of it';

CREATE TABLE goverse.receipts (
    receiver_kind bigint NOT NULL,
    sender_kind bigint NOT NULL,
    hash bigint NOT NULL,
    receiver_id bytea NOT NULL,
    sender_id bytea NOT NULL,
    last numeric NOT NULL,
    numbers numeric[] NOT NULL,
    outcomes bytea[] NOT NULL,
    PRIMARY KEY (receiver_kind, receiver_id, sender_kind, sender_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE goverse.receipts IS
    'One row per pair of objects: what the receiver has settled of the calls of the sender. Calls are named by their numbers, '
    'goverse.call_number(seq, part).';
COMMENT ON COLUMN goverse.receipts.hash IS 'The hash of the sender, from which its shard follows';
COMMENT ON COLUMN goverse.receipts.last IS 'The number of the last call that was settled';
COMMENT ON COLUMN goverse.receipts.numbers IS
    'The calls whose outcomes the sender may still ask for, in order; their outcomes are at the same places of the next column';

CREATE TABLE goverse.receipt_rounds (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    began timestamptz NOT NULL DEFAULT '-infinity',
    mark bigint NOT NULL DEFAULT 0,
    floor numeric NOT NULL DEFAULT 0,
    next_block bigint NOT NULL DEFAULT 0
);
INSERT INTO goverse.receipt_rounds DEFAULT VALUES;
COMMENT ON TABLE goverse.receipt_rounds IS
    'How far the receipts were searched for ones that no delivery can need any more (goverse.forget_receipts)';
COMMENT ON COLUMN goverse.receipt_rounds.mark IS 'The position at which the latest round began';
COMMENT ON COLUMN goverse.receipt_rounds.floor IS
    'No call with a number up to this is pending, except in the shards of goverse.receipt_floors';
CREATE TABLE goverse.receipt_floors (
    shard integer PRIMARY KEY,
    floor numeric NOT NULL
);
COMMENT ON TABLE goverse.receipt_floors IS 'The lower floors of shards in which older calls are pending';

CREATE TABLE goverse.finished_calls (
    day integer NOT NULL,
    attempts integer NOT NULL,
    finished_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    sender_kind bigint NOT NULL,
    receiver_kind bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    id bytea NOT NULL,
    sender_id bytea NOT NULL,
    receiver_id bytea NOT NULL,
    content bytea NOT NULL,
    outcome bytea NOT NULL,
    PRIMARY KEY (sender_kind, sender_id, id, day)
) PARTITION BY RANGE (day);
CREATE INDEX finished_calls_id ON goverse.finished_calls (id);
CREATE INDEX finished_calls_state ON goverse.finished_calls (state, finished_ms, id);
CREATE INDEX finished_calls_receiver ON goverse.finished_calls (receiver_kind, receiver_id);
COMMENT ON TABLE goverse.finished_calls IS 'Kept results and dead letters';
COMMENT ON COLUMN goverse.finished_calls.day IS
    'The day on which the row goes, with its partition: the one after which nothing of it must be kept (goverse.last_day)';
CREATE TABLE goverse.finished_calls_rest PARTITION OF goverse.finished_calls DEFAULT;

CREATE FUNCTION goverse.call_number(p_seq bigint, p_part integer) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
    -- a position has up to 63 bits, so the number of a call does not fit into a bigint
    SELECT p_seq::numeric * 16384 + p_part
$$;

CREATE FUNCTION goverse.last_day(p_expires_ms bigint) RETURNS integer LANGUAGE sql STABLE AS $$
    -- The partition of a finished call. Days that are far away are rounded up, so that there are few partitions and each exists
    -- before it is needed: to full weeks, and behind six weeks to 28 days. A call that is kept for ever goes after a century.
    SELECT CASE WHEN expires <= now + 2 THEN expires
        WHEN expires <= now + 42 THEN (expires + 6) / 7 * 7
        ELSE least((expires + 27) / 28 * 28, now + 36500) END
    FROM (SELECT goverse.today() AS now, least(p_expires_ms / 86400000, 100000)::integer AS expires) AS days
$$;

-- The functions below add the effects of a batch to its transaction. Each gets the batch's first position and returns it, so
-- that one statement can chain them behind the commit. p_skip has the ordinals of records that were refused.

CREATE FUNCTION goverse.shard_at(p_hash bigint, p_shards integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    -- the first bits of a hash, which has 2^63 less in its column than in the nodes
    SELECT div(p_hash::numeric + 9223372036854775808, 18446744073709551616 / p_shards)::integer
$$;

CREATE FUNCTION goverse.shard_count() RETURNS integer LANGUAGE sql STABLE AS $$
    -- the default before the first node wrote its setting
    SELECT coalesce((SELECT shards FROM goverse.cluster), 8192)
$$;

CREATE FUNCTION goverse.is_note(p_content bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    -- A note is a pending call that is never delivered: its id and its method begin with @. The content is a byte, the length of a
    -- JSON array of id, receiver, method and so on, the array, and the body.
    SELECT CASE WHEN substring(p_content FROM 6 FOR 3) = '["@'::bytea THEN
        convert_from(substring(p_content FROM 6 FOR get_byte(p_content, 1) + (get_byte(p_content, 2) << 8)
            + (get_byte(p_content, 3) << 16)), 'UTF8')::json ->> 2 LIKE '@%'
    ELSE false END
$$;

CREATE FUNCTION goverse.floor_of(p_hash bigint) RETURNS numeric LANGUAGE sql STABLE AS $$
    -- no call of the sender with this hash that has a number up to this is pending
    SELECT coalesce(
        (SELECT floor FROM goverse.receipt_floors WHERE shard = goverse.shard_at(p_hash, goverse.shard_count())),
        (SELECT floor FROM goverse.receipt_rounds)
    )
$$;

CREATE FUNCTION goverse.is_below_floor(p_hash bigint[], p_number numeric[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM goverse.receipt_rounds, unnest(p_hash, p_number) AS t (hash, number)
        WHERE t.number <= receipt_rounds.floor AND t.number <= goverse.floor_of(t.hash)
    )
$$;

CREATE FUNCTION goverse.settle_calls(
    p_base bigint,
    -- per pair: the sender's hash, the first call that is settled and the one before it, the last one, and the first one whose
    -- outcome is kept
    t_receiver_kind bigint[], t_receiver_id bytea[], t_sender_kind bigint[], t_sender_id bytea[], t_hash bigint[],
    t_first numeric[], t_prev numeric[], t_last numeric[], t_head numeric[],
    -- where the outcomes of the pair begin and end among those below
    t_begin integer[], t_end integer[],
    x_number numeric[], x_outcome bytea[]
) RETURNS bigint LANGUAGE plpgsql SET enable_indexscan = off AS $$
-- Moves receipts on. Raises GV002 if a call is not next: it was settled before, or its predecessor was not. Without a receipt, the
-- floor tells if a call was settled. A statement of its own reads it: the insert may have waited for the end of a transaction
-- that removed the receipt.
DECLARE
    moved bigint;
    added bigint := 0;
BEGIN
    IF cardinality(t_last) = 0 THEN
        RETURN p_base;
    END IF;
    UPDATE goverse.receipts AS kept
    SET last = t.last,
        numbers = kept.numbers[width_bucket(t.head - 1, kept.numbers) + 1:] || x_number[t.begins:t.ends],
        outcomes = kept.outcomes[width_bucket(t.head - 1, kept.numbers) + 1:] || x_outcome[t.begins:t.ends]
    FROM unnest(t_receiver_kind, t_receiver_id, t_sender_kind, t_sender_id, t_first, t_prev, t_last, t_head, t_begin, t_end)
        AS t (receiver_kind, receiver_id, sender_kind, sender_id, first, prev, last, head, begins, ends)
    WHERE kept.receiver_kind = t.receiver_kind AND kept.receiver_id = t.receiver_id
        AND kept.sender_kind = t.sender_kind AND kept.sender_id = t.sender_id
        AND kept.last < t.first AND (t.prev = 0 OR t.prev = kept.last);
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved < cardinality(t_last) THEN
        INSERT INTO goverse.receipts (receiver_kind, receiver_id, sender_kind, sender_id, hash, last, numbers, outcomes)
        SELECT t.receiver_kind, t.receiver_id, t.sender_kind, t.sender_id, t.hash, t.last, x_number[t.begins:t.ends],
            x_outcome[t.begins:t.ends]
        FROM unnest(t_receiver_kind, t_receiver_id, t_sender_kind, t_sender_id, t_hash, t_prev, t_last, t_begin, t_end)
            AS t (receiver_kind, receiver_id, sender_kind, sender_id, hash, prev, last, begins, ends)
        WHERE t.prev = 0
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF moved + added <> cardinality(t_last) OR goverse.is_below_floor(t_hash, t_first) THEN
            RAISE EXCEPTION 'a call is not the next one of its pair' USING ERRCODE = 'GV002';
        END IF;
    END IF;
    RETURN p_base;
END
$$;

CREATE FUNCTION goverse.send_calls(
    p_base bigint, p_skip integer[],
    o_ordinal integer[], o_part integer[], o_shard integer[], o_hash bigint[], o_sender_kind bigint[], o_sender_id bytea[],
    o_receiver_kind bigint[], o_receiver_id bytea[], o_due_ms bigint[], o_expires_ms bigint[], o_content bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(o_ordinal) > 0 THEN
        INSERT INTO goverse.outbox (shard, seq, part, hash, sender_kind, sender_id, receiver_kind, receiver_id, due_ms,
            expires_ms, content)
        SELECT o.shard, p_base + o.ordinal, o.part, o.hash, o.sender_kind, o.sender_id, o.receiver_kind, o.receiver_id,
            o.due_ms, o.expires_ms, o.content
        FROM unnest(o_ordinal, o_part, o_shard, o_hash, o_sender_kind, o_sender_id, o_receiver_kind, o_receiver_id, o_due_ms,
            o_expires_ms, o_content)
            AS o (ordinal, part, shard, hash, sender_kind, sender_id, receiver_kind, receiver_id, due_ms, expires_ms, content)
        WHERE o.ordinal <> ALL (p_skip);
    END IF;
    RETURN p_base;
END
$$;

CREATE FUNCTION goverse.mark_calls(
    p_base bigint, p_skip integer[],
    n_ordinal integer[], n_shard integer[], n_seq bigint[], n_part integer[], n_sender_kind bigint[], n_sender_id bytea[],
    n_attempts integer[], n_void text[]
) RETURNS bigint LANGUAGE plpgsql SET enable_indexscan = off AS $$
-- Of several marks on one call, the last one counts.
BEGIN
    IF cardinality(n_ordinal) > 0 THEN
        UPDATE goverse.outbox AS pending SET attempts = n.attempts, void = n.void
        FROM (
            SELECT DISTINCT ON (n.shard, n.seq, n.part, n.sender_kind, n.sender_id) n.*
            FROM unnest(n_ordinal, n_shard, n_seq, n_part, n_sender_kind, n_sender_id, n_attempts, n_void) WITH ORDINALITY
                AS n (ordinal, shard, seq, part, sender_kind, sender_id, attempts, void, place)
            WHERE n.ordinal <> ALL (p_skip)
            ORDER BY n.shard, n.seq, n.part, n.sender_kind, n.sender_id, n.place DESC
        ) AS n
        WHERE pending.shard = n.shard AND pending.seq = n.seq AND pending.part = n.part
            AND pending.sender_kind = n.sender_kind AND pending.sender_id = n.sender_id;
    END IF;
    RETURN p_base;
END
$$;

CREATE FUNCTION goverse.remove_calls(
    p_base bigint, p_skip integer[],
    d_ordinal integer[], d_shard integer[], d_seq bigint[], d_part integer[], d_sender_kind bigint[], d_sender_id bytea[]
) RETURNS bigint LANGUAGE plpgsql SET enable_indexscan = off AS $$
BEGIN
    IF cardinality(d_ordinal) > 0 THEN
        DELETE FROM goverse.outbox AS pending
        USING unnest(d_ordinal, d_shard, d_seq, d_part, d_sender_kind, d_sender_id)
            AS d (ordinal, shard, seq, part, sender_kind, sender_id)
        WHERE pending.shard = d.shard AND pending.seq = d.seq AND pending.part = d.part
            AND pending.sender_kind = d.sender_kind AND pending.sender_id = d.sender_id AND d.ordinal <> ALL (p_skip);
    END IF;
    RETURN p_base;
END
$$;

CREATE FUNCTION goverse.keep_finished_calls(
    p_base bigint, p_skip integer[],
    f_ordinal integer[], f_sender_kind bigint[], f_sender_id bytea[], f_receiver_kind bigint[], f_receiver_id bytea[],
    f_id bytea[], f_state text[], f_attempts integer[], f_finished_ms bigint[], f_expires_ms bigint[], f_content bytea[],
    f_outcome bytea[]
) RETURNS bigint LANGUAGE plpgsql AS $$
-- An id that its sender used again names the later call.
BEGIN
    IF cardinality(f_ordinal) > 0 THEN
        INSERT INTO goverse.finished_calls AS kept (day, sender_kind, sender_id, receiver_kind, receiver_id, id, state, attempts,
            finished_ms, expires_ms, content, outcome)
        SELECT DISTINCT ON (f.sender_kind, f.sender_id, f.id, goverse.last_day(f.expires_ms)) goverse.last_day(f.expires_ms),
            f.sender_kind, f.sender_id, f.receiver_kind, f.receiver_id, f.id, f.state, f.attempts, f.finished_ms, f.expires_ms,
            f.content, f.outcome
        FROM unnest(f_ordinal, f_sender_kind, f_sender_id, f_receiver_kind, f_receiver_id, f_id, f_state, f_attempts,
            f_finished_ms, f_expires_ms, f_content, f_outcome) WITH ORDINALITY
            AS f (ordinal, sender_kind, sender_id, receiver_kind, receiver_id, id, state, attempts, finished_ms, expires_ms,
            content, outcome, place)
        WHERE f.ordinal <> ALL (p_skip)
        ORDER BY f.sender_kind, f.sender_id, f.id, goverse.last_day(f.expires_ms), f.place DESC
        ON CONFLICT (sender_kind, sender_id, id, day) DO UPDATE
        SET receiver_kind = excluded.receiver_kind, receiver_id = excluded.receiver_id, state = excluded.state,
            attempts = excluded.attempts, finished_ms = excluded.finished_ms, expires_ms = excluded.expires_ms,
            content = excluded.content, outcome = excluded.outcome;
    END IF;
    RETURN p_base;
END
$$;

CREATE FUNCTION goverse.settle_each(
    p_skip integer[],
    u_ordinal integer[], u_receiver_kind bigint[], u_receiver_id bytea[], u_sender_kind bigint[], u_sender_id bytea[],
    u_hash bigint[], u_number numeric[], u_prev numeric[], u_head numeric[], u_outcome bytea[]
) RETURNS integer LANGUAGE plpgsql AS $$
-- Settles call by call. Returns the ordinal of the first record whose call is not the next one of its pair, or null.
BEGIN
    FOR at IN 1 .. cardinality(u_ordinal) LOOP
        CONTINUE WHEN u_ordinal[at] = ANY (p_skip);
        BEGIN
            PERFORM goverse.settle_calls(0, u_receiver_kind[at:at], u_receiver_id[at:at], u_sender_kind[at:at],
                u_sender_id[at:at], u_hash[at:at], u_number[at:at], u_prev[at:at], u_number[at:at], u_head[at:at], '{1}', '{1}',
                u_number[at:at], u_outcome[at:at]);
        EXCEPTION WHEN SQLSTATE 'GV002' THEN
            RETURN u_ordinal[at];
        END;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION goverse.commit_each_with_effects(
    -- as for goverse.commit_each. A record with effects has a reply, if only an empty one without a key: without any, it would
    -- count as a mere check of its epoch. One that fits every version of its object names kind 0, which no object has.
    p_writer bigint, p_owner integer, p_session integer, p_after bigint, p_batch bigint,
    r_kind bigint[], r_id bytea[], r_expected bigint[], r_version bigint[], r_state bytea[],
    r_state_version integer[], r_at_ms bigint[], r_shard integer[], r_epoch bigint[],
    r_key bytea[], r_brief boolean[], r_router text[], r_number bigint[], r_resent boolean[],
    r_fingerprint bytea[], r_reply bytea[], r_lives_ms bigint[], r_creation bytea[], r_hash bigint[], r_cause bytea[],
    -- the effects, each with the ordinal of its record
    u_ordinal integer[], u_receiver_kind bigint[], u_receiver_id bytea[], u_sender_kind bigint[], u_sender_id bytea[],
    u_hash bigint[], u_number numeric[], u_prev numeric[], u_head numeric[], u_outcome bytea[],
    o_ordinal integer[], o_part integer[], o_shard integer[], o_hash bigint[], o_sender_kind bigint[], o_sender_id bytea[],
    o_receiver_kind bigint[], o_receiver_id bytea[], o_due_ms bigint[], o_expires_ms bigint[], o_content bytea[],
    n_ordinal integer[], n_shard integer[], n_seq bigint[], n_part integer[], n_sender_kind bigint[], n_sender_id bytea[],
    n_attempts integer[], n_void text[],
    d_ordinal integer[], d_shard integer[], d_seq bigint[], d_part integer[], d_sender_kind bigint[], d_sender_id bytea[],
    f_ordinal integer[], f_sender_kind bigint[], f_sender_id bytea[], f_receiver_kind bigint[], f_receiver_id bytea[],
    f_id bytea[], f_state text[], f_attempts integer[], f_finished_ms bigint[], f_expires_ms bigint[], f_content bytea[],
    f_outcome bytea[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
-- Commits what can be committed of a batch, as goverse.commit_each does; a record whose call is not the next one of its pair is
-- refused as "receipt". Whether a call is next depends on the records before it, and a refused record may be what later ones
-- build on. So at the first misfit everything is undone, and done again without that record.
DECLARE
    expected bigint[] := r_expected;
    misfit integer;
    why_not jsonb := '{}';
    answer jsonb;
    base bigint;
    skip integer[];
BEGIN
    LOOP
        BEGIN
            answer := goverse.commit_each(p_writer, p_owner, p_session, p_after, p_batch, r_kind, r_id, expected, r_version,
                r_state, r_state_version, r_at_ms, r_shard, r_epoch, r_key, r_brief, r_router, r_number, r_resent,
                r_fingerprint, r_reply, r_lives_ms, r_creation, r_hash, r_cause);
            base := (answer ->> 'base')::bigint;
            skip := ARRAY(SELECT ordinal::integer FROM jsonb_object_keys(answer -> 'refused') AS ordinal);
            misfit := goverse.settle_each(skip, u_ordinal, u_receiver_kind, u_receiver_id, u_sender_kind, u_sender_id,
                u_hash, u_number, u_prev, u_head, u_outcome);
            IF misfit IS NOT NULL THEN
                RAISE EXCEPTION 'a call is not the next one of its pair' USING ERRCODE = 'GV003';
            END IF;
            PERFORM goverse.send_calls(base, skip, o_ordinal, o_part, o_shard, o_hash, o_sender_kind, o_sender_id,
                o_receiver_kind, o_receiver_id, o_due_ms, o_expires_ms, o_content);
            PERFORM goverse.mark_calls(base, skip, n_ordinal, n_shard, n_seq, n_part, n_sender_kind, n_sender_id, n_attempts,
                n_void);
            PERFORM goverse.remove_calls(base, skip, d_ordinal, d_shard, d_seq, d_part, d_sender_kind, d_sender_id);
            PERFORM goverse.keep_finished_calls(base, skip, f_ordinal, f_sender_kind, f_sender_id, f_receiver_kind,
                f_receiver_id, f_id, f_state, f_attempts, f_finished_ms, f_expires_ms, f_content, f_outcome);
            EXIT;
        EXCEPTION WHEN SQLSTATE 'GV003' THEN
            why_not := why_not || jsonb_build_object(misfit, jsonb_build_array('receipt', 0));
            expected[misfit + 1] := -2;  -- no object is at this version
        END;
    END LOOP;
    why_not := (answer -> 'refused') || why_not;
    UPDATE goverse.writers SET refused = why_not WHERE number = p_writer AND batch = p_batch;
    RETURN jsonb_build_object('base', base, 'refused', why_not);
END
$$;

CREATE FUNCTION goverse.lower_floors() RETURNS void LANGUAGE sql AS $$
    -- calls with lower numbers than before are pending now, or in other shards
    UPDATE goverse.receipt_rounds SET mark = 0, floor = 0;
    DELETE FROM goverse.receipt_floors;
$$;

CREATE FUNCTION goverse.forget_receipts(p_every interval, p_blocks bigint) RETURNS bigint LANGUAGE plpgsql AS $$
-- Removes receipts that no delivery can need any more, from the next blocks of the table; returns how many, and null if nothing is
-- to be done now. A round goes over the whole table and begins when the one before it began so long ago.
--
-- A receipt is needed while its last call, or one before it, is pending in the shard of the sender; notes, which are never
-- delivered and can stay for months, do not count. A delivery of an earlier call
-- can still be on its way; the floor refuses that. The floor stays below the mark of the round before: no transaction from
-- before that one can still add a call, and pairs that are in use keep their receipts.
DECLARE
    round goverse.receipt_rounds;
    blocks bigint := pg_relation_size('goverse.receipts') / current_setting('block_size')::bigint;
    removed bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(71024, 3) THEN  -- another process is at it
        RETURN NULL;
    END IF;
    SELECT * INTO STRICT round FROM goverse.receipt_rounds;
    IF round.next_block >= blocks THEN
        IF round.began > clock_timestamp() - p_every THEN
            RETURN NULL;
        END IF;
        round.next_block := 0;
        round.floor := goverse.call_number(round.mark, 0) - 1;
        DELETE FROM goverse.receipt_floors;
        INSERT INTO goverse.receipt_floors (shard, floor)
        SELECT shard, oldest - 1 FROM generate_series(0, goverse.shard_count() - 1) AS each (shard)
        CROSS JOIN LATERAL (
            SELECT goverse.call_number(seq, part) AS oldest FROM goverse.outbox
            WHERE outbox.shard = each.shard AND NOT goverse.is_note(content) ORDER BY seq, part LIMIT 1
        ) AS first
        WHERE oldest <= round.floor;
        UPDATE goverse.receipt_rounds SET began = clock_timestamp(), mark = goverse.horizon(), floor = greatest(0, round.floor);
    END IF;
    EXECUTE format('DELETE FROM goverse.receipts WHERE ctid >= %L AND ctid < %L AND last <= $1 AND last <= goverse.floor_of(hash)',
        format('(%s,0)', round.next_block), format('(%s,0)', round.next_block + p_blocks)) USING round.floor;
    GET DIAGNOSTICS removed = ROW_COUNT;
    UPDATE goverse.receipt_rounds SET next_block = round.next_block + p_blocks;
    RETURN removed;
END
$$;

CREATE FUNCTION goverse.place_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
-- The number of shards was changed, or the first node wrote it after calls were loaded. No node runs, so no delivery is on its way
-- that a floor would have to refuse.
BEGIN
    UPDATE goverse.outbox SET shard = goverse.shard_at(hash, NEW.shards);
    PERFORM goverse.lower_floors();
    RETURN NULL;
END
$$;
CREATE TRIGGER place_outbox AFTER UPDATE OF shards ON goverse.cluster
    FOR EACH ROW WHEN (OLD.shards <> NEW.shards) EXECUTE FUNCTION goverse.place_outbox();
CREATE TRIGGER place_loaded_outbox AFTER INSERT ON goverse.cluster FOR EACH ROW EXECUTE FUNCTION goverse.place_outbox();

-- The functions of 0001 for daily partitions, for finished calls as well.

CREATE OR REPLACE FUNCTION goverse.prepare_day(p_parent text, p_day integer) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
-- Makes the partition of one day, and moves the rows of that day into it that are in the rest table: no partition can be made
-- beside them. Many of them stay where they are, since commits wait meanwhile; they go with their day. Tells if it is new.
DECLARE
    partition text := p_parent || '_' || p_day;
    rest text := p_parent || '_rest';
    many boolean;
BEGIN
    IF p_parent NOT IN ('changes', 'replies', 'finished_calls') THEN
        RAISE EXCEPTION '% has no days', p_parent;
    END IF;
    PERFORM pg_advisory_xact_lock(71024, 0);
    IF to_regclass(format('goverse.%I', partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE goverse.%I IN ACCESS EXCLUSIVE MODE', rest);
    EXECUTE format('SELECT count(*) > 100000 FROM (SELECT FROM goverse.%I WHERE day = $1 LIMIT 100001) AS found', rest)
        INTO many USING p_day;
    IF many THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE goverse.%I (LIKE goverse.%I INCLUDING ALL)%s', partition, p_parent,
        -- what fits into a page stays in one row
        CASE p_parent WHEN 'changes' THEN ' WITH (toast_tuple_target = 8160)' END);
    EXECUTE format('WITH moved AS (DELETE FROM goverse.%I WHERE day = $1 RETURNING *) INSERT INTO goverse.%I SELECT * FROM moved',
        rest, partition) USING p_day;
    EXECUTE format('ALTER TABLE goverse.%I ATTACH PARTITION goverse.%I FOR VALUES FROM (%s) TO (%s)',
        p_parent, partition, p_day, p_day + 1);
    RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION goverse.days_to_prepare(p_days integer) RETURNS TABLE (parent text, day integer) LANGUAGE sql STABLE AS $$
    -- The partitions that are missing of today and the next days; none of changes while they are not kept. Of finished calls also
    -- those of the next weeks, and of each day that has rows in the rest table.
    SELECT parent, day FROM (
        SELECT parent, day FROM unnest(ARRAY['replies', 'changes', 'finished_calls']) AS parent,
            generate_series(goverse.today(), goverse.today() + p_days) AS day
        UNION
        SELECT 'finished_calls', day FROM generate_series((goverse.today() + 6) / 7 * 7, goverse.today() + 42, 7) AS day
        UNION
        SELECT 'finished_calls', day FROM goverse.finished_calls_rest
        WHERE day BETWEEN goverse.today() AND goverse.today() + 1000
    ) AS wanted
    WHERE to_regclass(format('goverse.%I', parent || '_' || day)) IS NULL
        AND (parent <> 'changes' OR (SELECT kept FROM goverse.feed))
    ORDER BY day
$$;

CREATE OR REPLACE FUNCTION goverse.expired_days(p_changes_days integer, p_replies_days integer)
RETURNS TABLE (partition text, day integer, bytes bigint) LANGUAGE sql STABLE AS $$
    -- The partitions that hold nothing that must be kept any more: all of changes while the feed is switched off. A process that
    -- is told to keep no changes drops none while another one keeps them.
    SELECT child.relname::text, substring(child.relname FROM '_(\d+)$')::integer, pg_total_relation_size(child.oid)
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_namespace AS home ON home.oid = parent.relnamespace
    WHERE home.nspname = 'goverse' AND parent.relname IN ('changes', 'replies', 'finished_calls') AND child.relname ~ '_\d+$'
        AND CASE parent.relname
            WHEN 'finished_calls' THEN substring(child.relname FROM '_(\d+)$')::integer < goverse.today()
            WHEN 'changes' THEN goverse.is_past(substring(child.relname FROM '_(\d+)$')::integer, p_changes_days)
            ELSE substring(child.relname FROM '_(\d+)$')::integer < goverse.today() - p_replies_days
        END
    ORDER BY 1
$$;

CREATE OR REPLACE FUNCTION goverse.drop_day(p_partition text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    IF p_partition !~ '^(changes|replies|finished_calls)_\d+$' THEN
        RAISE EXCEPTION '% is no partition of ours', p_partition;
    END IF;
    IF p_partition LIKE 'changes%' THEN
        EXECUTE format(
            'UPDATE goverse.feed SET trimmed_seq = greatest(trimmed_seq, coalesce((SELECT last FROM goverse.%I ORDER BY base DESC LIMIT 1), 0))',
            p_partition);
    END IF;
    EXECUTE format('DROP TABLE goverse.%I', p_partition);
END
$$;
