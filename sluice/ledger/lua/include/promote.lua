-- Make ready what was delayed and is due.
-- @include read_prediction
-- @include join_ready
local function promote()
  local due = redis.call(
    'ZRANGEBYSCORE', delayed_key, '-inf', exact(now), 'WITHSCORES', 'LIMIT', 0, AT_A_TIME)
  for at = 1, #due, 2 do
    redis.call('ZREM', delayed_key, due[at])
    join_ready(due[at], read_prediction(due[at], 'priority', 'key'), due[at + 1])
  end
end
