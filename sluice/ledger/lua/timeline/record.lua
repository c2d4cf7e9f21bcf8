-- Add what a worker process ended to the current minute, and sample the queue.
--
-- Input: pairs of a count's name and the number to add.
-- Changes: the current minute of the timeline. The backlog and the running predictions of a minute
--   are its largest samples; the workers are those of the last sample.
-- @include common
-- @include timeline
local FIRST_COUNT = 3

local key = timeline_key(minute)
for at = FIRST_COUNT, #ARGV, 2 do redis.call('HINCRBY', key, ARGV[at], ARGV[at + 1]) end
local backlog, processing = unpack(redis.call('HMGET', key, 'backlog', 'processing'))
backlog = math.max(tonumber(backlog or 0), redis.call('ZCARD', live_key))
processing = math.max(tonumber(processing or 0), redis.call('ZCARD', leases_key))
local workers = redis.call('ZCOUNT', workers_key, exact(now), '+inf')
redis.call('HSET', key, 'backlog', backlog, 'processing', processing, 'workers', workers)
redis.call('EXPIRE', key, TIMELINE_S)
return 1
