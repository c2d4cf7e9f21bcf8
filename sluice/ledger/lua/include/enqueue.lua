-- Queue a prediction that is `starting`, to be claimed from `due` on; alone, where its shared attempts lapsed too often.
-- @include field
-- @include join_ready
local function enqueue(prediction_id, due)
  redis.call('ZREM', leases_key, prediction_id)
  redis.call('HDEL', prediction_key(prediction_id), 'owner')
  redis.call('ZADD', deadlines_key, field(prediction_id, 'deadline'), prediction_id)
  if field(prediction_id, 'lone_lapses') then
    redis.call('ZADD', alone_key, exact(due), prediction_id)
  elseif due > now then
    redis.call('ZADD', delayed_key, exact(due), prediction_id)
  else
    join_ready(prediction_id, exact(due))
  end
end
