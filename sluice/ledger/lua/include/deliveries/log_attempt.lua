-- Add an attempt, as JSON, to a delivery's log.
local function log_attempt(delivery_id, attempt)
  redis.call('RPUSH', delivery_log_key(delivery_id), attempt)
  redis.call('LTRIM', delivery_log_key(delivery_id), -limits.max_logged, -1)
end
