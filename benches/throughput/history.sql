-- A history for the accounts of a figure: 10,000 tasks for each, one after another over the last 90
-- days, each held, delivered and captured for one credit, each with an idempotency key. The first entry
-- of each account is its opening grant.

-- Tasks that have ended are written as such, which the table's triggers refuse.
SET session_replication_role = replica;
-- Loaded at once, it would be vacuumed while it is measured; what came over months was vacuumed on the way.
ALTER TABLE tasks SET (autovacuum_enabled = off);
ALTER TABLE ledger_entries SET (autovacuum_enabled = off);

INSERT INTO tasks (
    account_id, id, test, model, media_type, request, status, progress, node_id, provider, attempt,
    upstream_id, outputs, quoted, charged, created_at, started_at, finished_at, deadline_at, idempotency, key_code
)
SELECT
    account.id,
    -- UUIDv7: milliseconds, then what is random (RFC 9562 §5.7).
    (lpad(to_hex((extract(epoch FROM time.at) * 1000)::bigint), 12, '0')
        || '7' || substr(random.hex, 1, 3) || '8' || substr(random.hex, 4, 15))::uuid,
    false,
    'z-image-turbo',
    'image',
    '{"prompt": "a lighthouse on a cliff at dusk, long exposure, muted colours, film grain",
      "resolution": "1K", "aspect_ratio": "1:1", "width": 1024, "height": 1024, "count": 1,
      "operation": "text", "provider": "sandbox"}',
    'SUCCESS',
    100,
    '00000000-0000-7000-8000-000000000000',
    'sandbox',
    1,
    random.hex,
    '[{"path": "outputs/0000000000000000/0000000000000000.png", "mime_type": "image/png", "width": 1024,
       "height": 1024, "duration_seconds": null, "size_bytes": 1048576, "poster": null}]',
    1,
    1,
    time.at,
    time.at + interval '1 second',
    time.at + interval '3 seconds',
    time.at + interval '10 minutes',
    decode(random.hex || substr(random.hex, 1, 16), 'hex'),
    (floor(extract(epoch FROM time.at) / 604800)::bigint << 47)
        | (('x' || substr(random.hex, 1, 16))::bit(64)::bigint & 140737488355327)
FROM generate_series(1, 10000) AS turn
CROSS JOIN accounts AS account
CROSS JOIN LATERAL (SELECT now() - interval '90 days' * (10001 - turn) / 10001 AS at) AS time
CROSS JOIN LATERAL (SELECT md5(account.id::text || turn) AS hex) AS random;

INSERT INTO ledger_entries (account_id, seq, kind, amount, available, held, open, task_id, at)
SELECT
    task.account_id,
    2 * task.turn + movement.step,
    movement.kind::ledger_kind,
    1,
    opening.available - task.turn,
    1 - movement.step,
    1 - movement.step,
    task.id,
    task.created_at + movement.step * interval '3 seconds'
FROM (
    SELECT account_id, id, created_at, row_number() OVER (PARTITION BY account_id ORDER BY id) AS turn
    FROM tasks
) AS task
JOIN ledger_entries AS opening ON opening.account_id = task.account_id AND opening.seq = 1
CROSS JOIN (VALUES (0, 'HOLD'), (1, 'CAPTURE')) AS movement (step, kind);

RESET session_replication_role;
ANALYZE;
