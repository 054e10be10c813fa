-- A batch is worked out from where the chains of its accounts are remembered to end, which may be where a
-- batch before it will have left them. If that one fails, the chains end earlier, and others may have gone
-- on from there, even by as many entries. So what counts is that they end as remembered in every way.
--
-- Makes the caller the only writer to the chains of `accounts` until its transaction ends, and answers when
-- the transaction began; it is over if a chain does not end as remembered. An account without entries has
-- zeros.
DROP FUNCTION ledger_resume;
CREATE FUNCTION ledger_resume(
    accounts uuid[], seqs bigint[], available bigint[], held bigint[], open integer[]
) RETURNS timestamptz
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM ledger_lock(accounts);
    -- A statement of its own: it sees what was committed before the locks were granted.
    PERFORM FROM unnest(accounts, seqs, available, held, open)
        AS remembered (account_id, seq, available, held, open)
    LEFT JOIN LATERAL (
        SELECT entry.seq, entry.available, entry.held, entry.open FROM ledger_entries AS entry
        WHERE entry.account_id = remembered.account_id ORDER BY entry.seq DESC LIMIT 1
    ) AS last ON true
    WHERE (remembered.seq, remembered.available, remembered.held, remembered.open)
        <> (coalesce(last.seq, 0), coalesce(last.available, 0), coalesce(last.held, 0), coalesce(last.open, 0));
    IF FOUND THEN
        RAISE EXCEPTION 'a chain does not end as remembered' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN now();
END $$;
