-- Let the record that the body is made from outlive its retention, until the body is stored.
-- `release_source` restores the time to live.
-- @include deliveries/source
local function hold_source(delivery_id, kind, subject_id)
  local source = source_key(kind, subject_id)
  local ttl_s = redis.call('TTL', source)
  if ttl_s < 0 then return end
  redis.call('HSET', delivery_key(delivery_id), 'source_until', exact(now + ttl_s))
  if ttl_s >= UNSEEN_S then return end
  redis.call('EXPIRE', source, UNSEEN_S)
  local gone = source_gone_key(kind, subject_id)
  local longer_s = redis.call('TTL', gone) - ttl_s
  if longer_s > 0 then redis.call('EXPIRE', gone, UNSEEN_S + longer_s) end
end
