-- End a prediction: change its status, if the transition is allowed, and complete its record.
--
-- Input: the id; its record, as `read_to_finish` reads it; the new status; how long the record is
--   kept; then fields and values in turn.
-- Output: false where the transition is not allowed and nothing was changed; else 'idle', or
--   'waiting' where others wait in the queue.
-- Changes: the record and its time to live, the sums, all sets of live predictions, the list of
--   what expires; files the delivery of the end, and ends the batch with its last prediction.
-- @include read_prediction
-- @include move
-- @include forget
-- @include deliveries/file
-- @include batches/end_batch
local function read_to_finish(prediction_id, ...)
  return read_prediction(prediction_id, 'status', 'owner', 'batch', 'size', 'key', 'priority',
    'webhook', ...)
end

local function finish(prediction_id, record, to, retention_s, ...)
  if not move(prediction_id, record, to, 'completed_at', exact(now), ...) then return false end
  local key, key_name = prediction_key(prediction_id), record.key
  if record.owner then redis.call('HDEL', key, 'owner') end
  redis.call('DECRBY', bytes_key, record.size)
  if redis.call('HINCRBY', backlogs_key, key_name, -1) <= 0 then
    redis.call('HDEL', backlogs_key, key_name)
  end
  local others_wait = forget(prediction_id, record)
  redis.call('EXPIRE', key, retention_s)
  redis.call('SET', gone_key(prediction_id), key_name, 'EX', retention_s + limits.tombstone_s)
  if not record.batch then
    redis.call('ZADD', expiring_key, exact(now + retention_s), key_name .. ' ' .. prediction_id)
    redis.call('EXPIRE', expiring_key, limits.index_ttl_s)
  end
  -- After EXPIRE, which it may prolong.
  if record.webhook then file_delivery('prediction', prediction_id, 'completed') end
  if record.batch then end_batch(record.batch) end
  return others_wait and 'waiting' or 'idle'
end
