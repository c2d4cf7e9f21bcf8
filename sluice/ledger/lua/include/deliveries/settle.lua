-- Settle a delivery: only its record stays, for as long as it has to live.
local function settle_delivery(delivery_id, receiver, status)
  redis.call('HSET', delivery_key(delivery_id), 'status', status)
  redis.call('HDEL', delivery_key(delivery_id), 'due', 'owner')
  redis.call('ZREM', receiver_ready_key(receiver), delivery_id)
  redis.call('ZREM', deliveries_key, delivery_id)
  redis.call('ZREM', deliveries_open_key, delivery_id)
end
