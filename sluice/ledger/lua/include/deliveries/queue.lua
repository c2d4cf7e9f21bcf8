-- Have a delivery sent to its receiver from `at` on. KEDA counts it where it is due and one more
-- sender would be of use.
-- @include deliveries/key_name_of
local function queue_delivery(delivery_id, receiver, at)
  local paused_until = tonumber(redis.call('HMGET', receiver_key(receiver), 'paused_until')[1] or 0)
  redis.call('HSET', delivery_key(delivery_id), 'status', 'waiting', 'due', exact(at))
  redis.call('ZADD', receiver_ready_key(receiver), exact(at), delivery_id)
  if at <= now and paused_until <= now then
    redis.call('ZADD', deliveries_key, exact(at), delivery_id)
  else
    redis.call('ZREM', deliveries_key, delivery_id)
  end
  local turn, key_name = exact(math.max(at, paused_until)), key_name_of(receiver)
  redis.call('ZADD', receivers_key(key_name), 'LT', turn, receiver)
  local changed = redis.call('ZADD', receiver_turns_key, 'LT', 'CH', turn, key_name)
  if changed == 1 and at <= now then redis.pcall('PUBLISH', deliveries_news_channel, '') end
end
