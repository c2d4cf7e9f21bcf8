-- Settle a delivery as `dead` or `stopped`, with the reason. It is kept among the dead ones.
-- @include deliveries/settle
-- @include deliveries/live_on
local function set_aside(delivery_id, receiver, status, reason)
  settle_delivery(delivery_id, receiver, status)
  redis.call('HSET', delivery_key(delivery_id), 'reason', reason)
  redis.call('ZADD', deliveries_dead_key, exact(now), delivery_id)
  live_on(delivery_id, limits.keep_s)
end
