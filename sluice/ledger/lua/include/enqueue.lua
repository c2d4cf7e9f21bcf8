-- Queue a prediction that is `starting`, to be claimed from `due` on; alone, where its shared
-- attempts lapsed too often. The record has `deadline`, `lone_lapses`, `priority` and `key`.
-- @include join_ready
local function enqueue(prediction_id, record, due)
  redis.call('ZADD', deadlines_key, record.deadline, prediction_id)
  if record.lone_lapses then
    redis.call('ZADD', alone_key, exact(due), prediction_id)
  elseif due > now then
    redis.call('ZADD', delayed_key, exact(due), prediction_id)
  else
    join_ready(prediction_id, record, exact(due))
  end
end

-- The same for a prediction that was claimed.
local function enqueue_again(prediction_id, record, due)
  redis.call('ZREM', leases_key, prediction_id)
  enqueue(prediction_id, record, due)
end
