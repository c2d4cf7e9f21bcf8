-- Put a prediction on record as `starting`, and queue it.
--
-- Input: prediction_id, size (of the image, in bytes), start_within_s, key_name, priority,
--   max_of_key (the most live predictions of the key, or ''), batch_id (or ''), then the record's
--   other fields and values in turn.
-- Output: {created_at, how many wait}; where nothing was changed, 'taken' (the id is used),
--   'closed' (the batch takes no more), or the bound that was met: 'live', 'key' or 'bytes'.
-- Changes: the record, the queue, the sums, the sign of recent submissions, and the batch's counts
--   or the index of the key.
-- @include common
-- @include batches/is_closed
-- @include batches/count
-- @include enqueue
local prediction_id, size, start_within_s, key_name, priority, max_of_key, batch_id =
  unpack(ARGV, 3, 9)
local record = prediction_key(prediction_id)
local in_batch = batch_id ~= ''

if redis.call('EXISTS', record, gone_key(prediction_id)) > 0 then return 'taken' end
if in_batch and is_closed(batch_id) then return 'closed' end
if redis.call('ZCARD', live_key) >= limits.max_backlog then return 'live' end
if max_of_key ~= '' then
  local live_of_key = tonumber(redis.call('HMGET', backlogs_key, key_name)[1] or 0)
  if live_of_key >= tonumber(max_of_key) then return 'key' end
end
local used = tonumber(redis.call('GET', bytes_key) or 0)
if used > 0 and used + size > limits.max_bytes then return 'bytes' end

local created_at, deadline = exact(now), exact(now + start_within_s)
redis.call('HSET', record, 'status', 'starting', 'created_at', created_at, 'size', size,
  'key', key_name, 'priority', priority, 'deadline', deadline, unpack(ARGV, 10))
redis.call('ZADD', live_key, created_at, prediction_id)
if redis.call('ZADD', recent_key, 'CH', math.floor(now), 'last') == 1 then -- once a second
  redis.call('EXPIRE', recent_key, limits.recent_s + 1)
end
redis.call('INCRBY', bytes_key, size)
redis.call('HINCRBY', backlogs_key, key_name, 1)
if in_batch then
  count_in_batch(batch_id, nil, 'starting')
  redis.call('ZADD', batches_key, 'XX', exact(now + limits.batch_idle_s), batch_id)
else
  redis.call('ZADD', index_key(key_name), created_at, prediction_id)
  redis.call('EXPIRE', index_key(key_name), limits.index_ttl_s)
end
enqueue(prediction_id, {deadline = deadline, priority = priority, key = key_name}, now)
return {created_at, redis.call('ZCARD', deadlines_key)}
