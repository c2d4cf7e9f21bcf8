-- Queue a prediction that is `starting`, to be claimed from `due` on; alone, where its shared
-- attempts lapsed too often.
-- @include prediction_fields
-- @include join_ready
local function enqueue(prediction_id, due)
  redis.call('ZREM', leases_key, prediction_id)
  redis.call('HDEL', prediction_key(prediction_id), 'owner')
  local deadline, lone_lapses = prediction_fields(prediction_id, 'deadline', 'lone_lapses')
  redis.call('ZADD', deadlines_key, deadline, prediction_id)
  if lone_lapses then
    redis.call('ZADD', alone_key, exact(due), prediction_id)
  elseif due > now then
    redis.call('ZADD', delayed_key, exact(due), prediction_id)
  else
    join_ready(prediction_id, exact(due))
  end
end
