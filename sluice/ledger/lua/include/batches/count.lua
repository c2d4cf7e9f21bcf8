-- Count a change of status in the record of the prediction's batch. It costs nothing for a
-- prediction without a batch.
local function count_in_batch(batch_id, from, to)
  if not batch_id or redis.call('EXISTS', batch_key(batch_id)) == 0 then return end
  if from then redis.call('HINCRBY', batch_key(batch_id), from, -1) end
  redis.call('HINCRBY', batch_key(batch_id), to, 1)
end
