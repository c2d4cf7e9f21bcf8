-- Let a delivery's record and log live for some seconds more.
local function live_on(delivery_id, ttl_s)
  redis.call('EXPIRE', delivery_key(delivery_id), ttl_s)
  redis.call('EXPIRE', delivery_log_key(delivery_id), ttl_s)
end
