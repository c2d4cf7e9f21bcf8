-- End a batch that is sealed and has no live prediction; else change nothing.
-- Changes: the batch's record and its time to live; files the delivery of the end.
-- @include batches/batch_fields
-- @include deliveries/file
local function end_batch(batch_id)
  local record = batch_key(batch_id)
  local sealed, completed_at, canceled_at, key_name =
    batch_fields(batch_id, 'sealed', 'completed_at', 'canceled_at', 'key')
  local starting, processing = batch_fields(batch_id, 'starting', 'processing')
  local live = tonumber(starting or 0) + tonumber(processing or 0)
  if not sealed or completed_at or live > 0 then return end
  redis.call('HSET', record, 'completed_at', exact(now))
  redis.call('ZREM', batches_key, batch_id)
  redis.call('EXPIRE', record, limits.retention_s)
  local gone_s = limits.retention_s + limits.tombstone_s
  redis.call('SET', gone_batch_key(batch_id), key_name, 'EX', gone_s)
  file_delivery('batch', batch_id, 'completed') -- after EXPIRE, which it may prolong
  local status = canceled_at and 'canceled' or 'succeeded'
  redis.pcall('PUBLISH', events_channel, batch_id .. ' ' .. status)
end
