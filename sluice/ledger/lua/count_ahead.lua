-- Count the predictions that are claimed before one, as far as is known now.
--
-- Input: prediction_id.
-- Output: the count; nil unless the prediction waits only for its turn.
-- Changes: nothing.
-- @include common
-- @include prediction_fields
local prediction_id = ARGV[3]

local priority, key_name = prediction_fields(prediction_id, 'priority', 'key')
local rank = priority and redis.call('ZRANK', ready_key(priority, key_name), prediction_id)
if not rank then return false end

local own_turn = tonumber(redis.call('ZSCORE', turns_key(priority), key_name) or 0)
local ahead = rank
for _, other in ipairs(PRIORITIES) do
  local turns = redis.call('ZRANGE', turns_key(other), 0, AT_A_TIME, 'WITHSCORES')
  for at = 1, #turns, 2 do
    local name, turn = turns[at], tonumber(turns[at + 1])
    local waiting = redis.call('ZCARD', ready_key(other, name))
    if other ~= priority then
      ahead = ahead + waiting
    elseif name ~= key_name then
      ahead = ahead + math.min(waiting, turn < own_turn and rank + 1 or rank)
    end
  end
  if other == priority then break end
end
return ahead
