-- Let a prediction wait for its turn no longer. A key with nothing ready loses its turn.
-- @include prediction_fields
local function leave_ready(prediction_id)
  local priority, key_name = prediction_fields(prediction_id, 'priority', 'key')
  if not priority then return end
  redis.call('ZREM', ready_key(priority, key_name), prediction_id)
  if redis.call('EXISTS', ready_key(priority, key_name)) == 0 then
    redis.call('ZREM', turns_key(priority), key_name)
  end
end
