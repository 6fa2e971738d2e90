SELECT EXISTS (SELECT FROM goverse.objects) OR EXISTS (SELECT FROM goverse.replies) OR EXISTS (SELECT FROM goverse.outbox)
    OR EXISTS (SELECT FROM goverse.receipts) OR EXISTS (SELECT FROM goverse.finished_calls)
