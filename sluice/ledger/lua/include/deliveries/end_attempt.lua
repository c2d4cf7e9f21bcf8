-- Take a delivery out of what is being sent, whatever its attempt's outcome.
-- @include deliveries/key_name_of
local function end_attempt(delivery_id, receiver)
  redis.call('HDEL', delivery_key(delivery_id), 'owner')
  redis.call('ZREM', deliveries_sending_key, delivery_id)
  redis.call('SREM', receiver_sending_key(receiver), delivery_id)
  redis.call('SREM', key_sending_key(key_name_of(receiver)), delivery_id)
end

-- After an attempt, one more may be made at the receiver, and for its key: give both a turn where
-- something waits.
local function offer_turn(receiver)
  local key_name = key_name_of(receiver)
  if redis.call('EXISTS', receiver_ready_key(receiver)) == 1 then
    local paused_until = tonumber(redis.call('HGET', receiver_key(receiver), 'paused_until') or 0)
    redis.call('ZADD', receivers_key(key_name), 'LT', exact(math.max(now, paused_until)), receiver)
  end
  local next_at = redis.call('ZRANGE', receivers_key(key_name), 0, 0, 'WITHSCORES')[2]
  if next_at then
    redis.call('ZADD', receiver_turns_key, 'LT', exact(math.max(now, next_at)), key_name)
  end
end
