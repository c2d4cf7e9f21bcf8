-- Complete the record of a prediction whose status has just become terminal.
--
-- Input: the id, how long the record is kept, then optionally `output` or `error` with its JSON,
--   and the metrics as JSON.
-- Changes: the record and its time to live, the sums, all sets of live predictions, the list of
--   what expires; files the delivery of the end, and ends the batch with its last prediction.
-- @include prediction_fields
-- @include forget
-- @include deliveries/file
-- @include batches/end_batch
local function finish(prediction_id, retention_s, name, value, metrics)
  local record = prediction_key(prediction_id)
  local size, key_name, batch_id = prediction_fields(prediction_id, 'size', 'key', 'batch')
  redis.call('HSET', record, 'completed_at', exact(now), 'metrics', metrics or '{}')
  if name then redis.call('HSET', record, name, value) end
  redis.call('HDEL', record, 'owner')
  redis.call('DECRBY', bytes_key, size)
  if redis.call('HINCRBY', backlogs_key, key_name, -1) <= 0 then
    redis.call('HDEL', backlogs_key, key_name)
  end
  forget(prediction_id)
  redis.call('EXPIRE', record, retention_s)
  redis.call('SET', gone_key(prediction_id), key_name, 'EX', retention_s + limits.tombstone_s)
  if not batch_id then
    redis.call('ZADD', expiring_key, exact(now + retention_s), key_name .. ' ' .. prediction_id)
    redis.call('EXPIRE', expiring_key, limits.index_ttl_s)
  end
  file_delivery('prediction', prediction_id, 'completed') -- after EXPIRE, which it may prolong
  if batch_id then end_batch(batch_id) end
end
