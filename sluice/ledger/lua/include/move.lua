-- Change a prediction's status, if the transition is allowed; returns whether it was. After
-- `create`, no other line writes a status.
-- @include transitions
-- @include batches/count
-- @include prediction_fields
local function move(prediction_id, to)
  local from, batch_id = prediction_fields(prediction_id, 'status', 'batch')
  local change = ' ' .. (from or '') .. '>' .. to .. ' '
  if not string.find(ALLOWED, change, 1, true) then return false end
  redis.call('HSET', prediction_key(prediction_id), 'status', to)
  -- A user without rights on the channel must not leave a half-changed record behind.
  redis.pcall('PUBLISH', events_channel, prediction_id .. ' ' .. to)
  count_in_batch(batch_id, from, to)
  return true
end
