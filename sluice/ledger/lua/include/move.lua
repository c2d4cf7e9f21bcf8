-- Change a prediction's status and further fields, if the transition is allowed; returns whether it
-- was. After `create`, no other line writes a status.
--
-- Input: the id; its record with `status` and `batch`, as it was read; the new status; fields and
--   values in turn.
-- @include transitions
-- @include batches/count
local function move(prediction_id, record, to, ...)
  local from = record.status
  if not string.find(ALLOWED, ' ' .. (from or '') .. '>' .. to .. ' ', 1, true) then
    return false
  end
  redis.call('HSET', prediction_key(prediction_id), 'status', to, ...)
  -- A user without rights on the channel must not leave a half-changed record behind.
  redis.pcall('PUBLISH', events_channel, prediction_id .. ' ' .. to)
  count_in_batch(record.batch, from, to)
  return true
end
