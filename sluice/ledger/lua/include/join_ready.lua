-- Let a prediction wait for its turn. A key that had nothing ready gets a turn after those that
-- wait already.
-- @include prediction_fields
local function join_ready(prediction_id, since)
  local priority, key_name = prediction_fields(prediction_id, 'priority', 'key')
  if not priority then return end
  redis.call('ZADD', ready_key(priority, key_name), since, prediction_id)
  redis.call('ZADD', turns_key(priority), 'NX', exact(now), key_name)
end
