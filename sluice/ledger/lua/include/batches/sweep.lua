-- Go on with batches that an api process has left, because it died while it submitted or canceled them.
-- @include batches/cancel_some
-- @include batches/end_batch
local function sweep_batch(batch_id)
  local canceled_at, starting = unpack(redis.call('HMGET', batch_key(batch_id), 'canceled_at', 'starting'))
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
  local due = redis.call('ZRANGEBYSCORE', batches_key, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME / 10)
  for _, batch_id in ipairs(due) do sweep_batch(batch_id) end
end
