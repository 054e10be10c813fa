SELECT EXISTS (SELECT FROM webhook_deliveries WHERE account_id = $1 AND test = $2 AND id = $3)
