-- Let a worker process count as alive.
--
-- Input: worker, counts_s (for how long).
-- Changes: the workers.
-- @include common
local worker, counts_s = unpack(ARGV, 3)

redis.call('ZADD', workers_key, exact(now + counts_s), worker)
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', exact(now))
redis.call('EXPIRE', workers_key, math.ceil(counts_s))
