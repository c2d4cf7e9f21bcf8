-- Let a worker process count as alive, and as troubled or not.
--
-- Input: worker, counts_s (for how long), troubled (1 where it lacks Triton or the blob store).
-- Changes: the workers, and the troubled ones among them.
-- @include common
local worker, counts_s, troubled = unpack(ARGV, 3)

redis.call('ZADD', workers_key, exact(now + counts_s), worker)
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', exact(now))
redis.call('EXPIRE', workers_key, math.ceil(counts_s))
if troubled == '1' then
  redis.call('ZADD', troubled_key, exact(now + counts_s), worker)
  redis.call('EXPIRE', troubled_key, math.ceil(counts_s))
else
  redis.call('ZREM', troubled_key, worker)
end
