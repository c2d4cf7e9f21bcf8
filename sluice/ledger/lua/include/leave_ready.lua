-- Let a prediction wait for its turn no longer. A key with nothing ready loses its turn. The record
-- has `priority` and `key`.
local function leave_ready(prediction_id, record)
  if not record.priority then return end
  local ready = ready_key(record.priority, record.key)
  redis.call('ZREM', ready, prediction_id)
  if redis.call('EXISTS', ready) == 0 then
    redis.call('ZREM', turns_key(record.priority), record.key)
  end
end
