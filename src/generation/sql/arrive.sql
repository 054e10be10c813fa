-- Records upstreams' ids.
SELECT tasks_arrive($1, $2, $3, $4)
