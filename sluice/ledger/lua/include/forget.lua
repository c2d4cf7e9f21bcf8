-- Take a prediction out of every set of live ones. Returns whether others wait in the queue.
--
-- The record is as it was before: `processing` is only among the leases, which a claim saw to. Any
-- other may be in all sets. It has `status`, `priority` and `key`; it is empty where it is gone.
-- @include leave_ready
local function forget(prediction_id, record)
  redis.call('ZREM', leases_key, prediction_id)
  redis.call('ZREM', live_key, prediction_id)
  if record.status ~= 'processing' then
    leave_ready(prediction_id, record)
    for _, set in ipairs({alone_key, delayed_key, deadlines_key}) do
      redis.call('ZREM', set, prediction_id)
    end
  end
  -- All that wait are live too. The sums start again from zero whenever nothing is live, so that no
  -- error in them can last.
  local filled = redis.call('EXISTS', live_key, deadlines_key)
  if filled == 0 then redis.call('DEL', bytes_key, backlogs_key, turn_key) end
  return filled == 2
end
