-- Of those who change an account's keys for upstreams, one at a time.
SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE
