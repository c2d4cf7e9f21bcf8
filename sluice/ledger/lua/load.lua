-- Measure how busy the queue is.
--
-- Output: {live, running, workers, oldest_s, drain_rate_per_s, fill_ratio, troubled}: how many
--   predictions are live, how many of them run, how many workers are alive, the age of the oldest
--   live prediction, how many ended a second in the best ten seconds of the last minute, the used
--   share of the bound that is nearest, and how many of the workers lack Triton or the blob store.
--   oldest_s, drain_rate_per_s and fill_ratio are text.
-- Changes: nothing.
-- @include common
-- @include drain_rate
local bucket = math.floor(now / RATE_BUCKET_S)
local bucket_age_s = now - bucket * RATE_BUCKET_S

local function ended_in(number) return tonumber(redis.call('GET', ended_key(number)) or 0) end

local best_per_s = 0
if bucket_age_s >= 2 then best_per_s = ended_in(bucket) / bucket_age_s end
for back = 1, 6 do best_per_s = math.max(best_per_s, ended_in(bucket - back) / RATE_BUCKET_S) end

local running = redis.call('ZCARD', leases_key)
local workers = redis.call('ZCOUNT', workers_key, exact(now), '+inf')
local troubled = redis.call('ZCOUNT', troubled_key, exact(now), '+inf')
local live = redis.call('ZCARD', live_key)
local oldest = redis.call('ZRANGE', live_key, 0, 0, 'WITHSCORES')[2]
local used_bytes = tonumber(redis.call('GET', bytes_key) or 0)
local fill_ratio = math.max(live / limits.max_backlog, used_bytes / limits.max_bytes)
local oldest_s = oldest and now - oldest or 0
return {live, running, workers, exact(oldest_s), exact(best_per_s), exact(fill_ratio), troubled}
