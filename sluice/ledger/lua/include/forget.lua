-- Take a prediction out of every set of live ones.
-- @include leave_ready
local function forget(prediction_id)
  leave_ready(prediction_id)
  for _, set in ipairs({alone_key, delayed_key, leases_key, live_key, deadlines_key}) do
    redis.call('ZREM', set, prediction_id)
  end
  -- The sums start again from zero whenever nothing is live, so that no error in them can last.
  if redis.call('EXISTS', live_key) == 0 then
    redis.call('DEL', bytes_key, backlogs_key, turn_key)
  end
end
