-- Let a prediction wait for its turn. A key that had nothing ready gets a turn after those that
-- wait already. The record has `priority` and `key`.
local function join_ready(prediction_id, record, since)
  if not record.priority then return end
  redis.call('ZADD', ready_key(record.priority, record.key), since, prediction_id)
  redis.call('ZADD', turns_key(record.priority), 'NX', exact(now), record.key)
end
