-- Put a delivery on record as `held`, and return its receiver.
local function record_delivery(delivery_id, kind, subject_id, event, url, key_name)
  local origin = string.lower(string.match(url, '^%a+://[^/?#]+') or url)
  local receiver = key_name .. '/' .. redis.sha1hex(origin)
  local endpoint = redis.sha1hex(key_name .. ' ' .. string.match(url, '^[^?#]*'))
  redis.call('HSET', delivery_key(delivery_id), 'kind', kind, 'subject_id', subject_id,
    'event', event, 'url', url, 'key', key_name, 'receiver', receiver, 'endpoint', endpoint,
    'status', 'held', 'created_at', exact(now))
  redis.call('EXPIRE', delivery_key(delivery_id), UNSEEN_S)
  redis.call('ZADD', deliveries_open_key, exact(now), delivery_id)
  return receiver
end
