-- Make ready what was delayed and is due.
-- @include join_ready
local function promote()
  local due = redis.call(
    'ZRANGEBYSCORE', delayed_key, '-inf', exact(now), 'WITHSCORES', 'LIMIT', 0, AT_A_TIME)
  for at = 1, #due, 2 do
    redis.call('ZREM', delayed_key, due[at])
    join_ready(due[at], due[at + 1])
  end
end
