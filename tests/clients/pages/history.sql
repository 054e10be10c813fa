-- A quarter of a year of the account `studio`, as it would have come to be: credits granted, tasks of nine models that
-- delivered, delivered for free and failed, and what two webhooks were told. Rows are written as the server writes
-- them, so `piooy ledger verify` must find nothing wrong.

-- Tasks that have ended are written as such, which the table's triggers refuse.
SET session_replication_role = replica;

CREATE TEMP TABLE studio AS SELECT id FROM accounts WHERE name = 'studio';

CREATE TEMP TABLE made AS
WITH models (rank, model, media, price) AS (
    VALUES
        (1, 'nano-banana-pro', 'image', 16), (2, 'veo-3-1', 'video', 90), (3, 'seedream-4-5', 'image', 6),
        (4, 'nano-banana-2', 'image', 7), (5, 'gemini-omni-1-2', 'video', 60), (6, 'wan-2-6', 'video', 48),
        (7, 'qwen-image-2', 'image', 4), (8, 'flux-2-pro', 'image', 8), (9, 'z-image-turbo', 'image', 2)
), moments AS (
    SELECT number, now() - interval '89 days' + number * interval '178 minutes' AS at
    FROM generate_series(1, 718) AS number
)
SELECT
    number,
    at,
    (
        lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(number::text), 1, 3)
        || '8' || substr(md5(number::text), 4, 15)
    )::uuid AS id,
    model,
    media,
    price::bigint,
    CASE WHEN number % 17 = 0 THEN 'FAILED' ELSE 'SUCCESS' END AS status
FROM moments
JOIN models ON rank = 1 + (number * number + number / 13) % (CASE WHEN number % 5 < 3 THEN 4 ELSE 9 END)
-- Quiet weekends.
WHERE extract(isodow FROM at) < 6 OR number % 4 = 0;

INSERT INTO tasks (
    created_at, deadline_at, quoted, started_at, finished_at, charged, attempt, progress, test, cancel_requested,
    account_id, id, node_id, status, media_type, model, provider, request, outputs, failure
)
SELECT
    at, at + interval '1 hour', price, at, at + interval '40 s', CASE status WHEN 'SUCCESS' THEN price ELSE 0 END, 1,
    100, false, false, studio.id, made.id, studio.id, status, media, model, 'sandbox', '{}',
    CASE status WHEN 'SUCCESS' THEN '[]' END, CASE status WHEN 'FAILED' THEN '{}' END
FROM made, studio;

INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, task_id, note, open)
SELECT
    row_number() OVER chain,
    amount,
    sum(CASE kind WHEN 'GRANT' THEN amount WHEN 'RELEASE' THEN amount WHEN 'HOLD' THEN -amount ELSE 0 END) OVER chain,
    sum(CASE kind WHEN 'GRANT' THEN 0 WHEN 'HOLD' THEN amount ELSE -amount END) OVER chain,
    at,
    kind::ledger_kind,
    studio.id,
    task_id,
    note,
    sum(CASE kind WHEN 'GRANT' THEN 0 WHEN 'HOLD' THEN 1 ELSE -1 END) OVER chain
FROM (
    SELECT now() - interval '90 days' AS at, 'GRANT' AS kind, 50000::bigint AS amount, NULL::uuid AS task_id,
        'Invoice 2026-117, paid in advance' AS note
    UNION ALL
    SELECT at, 'HOLD', price, id, '' FROM made
    UNION ALL
    SELECT at + interval '40 s', CASE status WHEN 'SUCCESS' THEN 'CAPTURE' ELSE 'RELEASE' END, price, id, '' FROM made
) AS movement, studio
WINDOW chain AS (ORDER BY at, kind DESC ROWS UNBOUNDED PRECEDING);

INSERT INTO webhooks (account_id, id, test, url, secret, created_at, disabled_at)
SELECT studio.id, hook.id, false, url, sha256(convert_to(url, 'UTF8')), now() - age, now() - gone
FROM studio, (
    VALUES
        ('01960000-0000-7000-8000-000000000001'::uuid, 'https://hooks.example.com/piooy', interval '80 days', NULL),
        ('01960000-0000-7000-8000-000000000002', 'https://old.example.net/integrations/render-farm/notify?team=motion',
            interval '88 days', interval '3 days')
) AS hook (id, url, age, gone);

INSERT INTO webhook_deliveries (
    created_at, due_at, attempted_at, ended_at, attempts, answer_status, test, account_id, id, task_id, webhook_id,
    status, url, answer, error
)
SELECT
    at, CASE state WHEN 'PENDING' THEN now() + interval '5 hours' END, at + interval '41 s',
    CASE WHEN state <> 'PENDING' THEN at + interval '42 s' END, CASE state WHEN 'DELIVERED' THEN 1 ELSE 12 END,
    CASE state WHEN 'DELIVERED' THEN 204 WHEN 'FAILED' THEN 503 WHEN 'CANCELED' THEN 410 END, false, studio.id, told.id,
    told.id, hook::uuid, state, webhooks.url, CASE state WHEN 'FAILED' THEN 'upstream connect error' END,
    CASE state WHEN 'PENDING' THEN 'did not answer as a whole within 15 s' END
FROM studio, (
    SELECT
        *,
        CASE WHEN number % 11 = 0 THEN 'FAILED' WHEN number % 13 = 0 THEN 'PENDING' WHEN number % 15 = 0 THEN 'CANCELED'
            ELSE 'DELIVERED' END AS state,
        '01960000-0000-7000-8000-00000000000' || CASE WHEN number % 15 = 0 THEN 2 ELSE 1 END AS hook
    FROM made ORDER BY number DESC LIMIT 45
) AS told
JOIN webhooks ON webhooks.id = hook::uuid
WHERE webhooks.account_id = studio.id;
