-- End a batch that is sealed and has no live prediction; else change nothing.
-- Changes: the batch's record and its time to live; files the delivery of the end.
-- @include deliveries/file
local function end_batch(batch_id)
  local record = batch_key(batch_id)
  local sealed, completed_at, starting, processing, canceled_at, key_name = unpack(redis.call('HMGET', record,
    'sealed', 'completed_at', 'starting', 'processing', 'canceled_at', 'key'))
  if not sealed or completed_at or tonumber(starting or 0) + tonumber(processing or 0) > 0 then return end
  redis.call('HSET', record, 'completed_at', exact(now))
  redis.call('ZREM', batches_key, batch_id)
  redis.call('EXPIRE', record, limits.retention_s)
  redis.call('SET', gone_batch_key(batch_id), key_name, 'EX', limits.retention_s + limits.tombstone_s)
  file_delivery('batch', batch_id, 'completed') -- after EXPIRE, which it may prolong
  redis.call('PUBLISH', events_channel, batch_id .. ' ' .. (canceled_at and 'canceled' or 'succeeded'))
end
