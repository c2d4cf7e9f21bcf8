-- Go on with batches that an api process has left, because it died while it submitted or canceled
-- them.
-- @include due_in
-- @include batches/batch_fields
-- @include batches/cancel_some
-- @include batches/end_batch
local function sweep_batch(batch_id)
  local canceled_at, starting = batch_fields(batch_id, 'canceled_at', 'starting')
  if canceled_at then
    cancel_some(batch_id)
    return
  end
  redis.call('ZREM', batches_key, batch_id)
  if starting then
    redis.call('HSET', batch_key(batch_id), 'sealed', 1)
    end_batch(batch_id)
  else
    redis.call('DEL', batch_key(batch_id)) -- no prediction was accepted, so no client got an answer
  end
end

local function sweep_batches()
  for _, batch_id in ipairs(due_in(batches_key, AT_A_TIME / 10)) do sweep_batch(batch_id) end
end
