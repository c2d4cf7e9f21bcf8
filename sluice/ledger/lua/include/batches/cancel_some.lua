-- Cancel what is live of the next hundred predictions of a batch. The last come first: the first
-- are the next to be claimed.
--
-- Output: {1 where nothing is left, else 0; then the id and the digest of each canceled
--   prediction}.
-- @include batches/batch_fields
-- @include finish
-- @include batches/end_batch
local function cancel_some(batch_id)
  local total, cancel_before, completed_at =
    batch_fields(batch_id, 'total', 'cancel_before', 'completed_at')
  if completed_at then return {1} end
  local answer = {0}
  local before = tonumber(cancel_before or total)
  local first = math.max(0, before - AT_A_TIME)
  for index = before - 1, first, -1 do
    local prediction_id = batch_id .. '-' .. string.format('%d', index)
    local record = read_to_finish(prediction_id, 'digest')
    if record.batch == batch_id and finish(prediction_id, record, 'canceled', limits.retention_s,
        'canceled_from', record.status) then
      table.insert(answer, prediction_id)
      table.insert(answer, record.digest)
    end
  end
  redis.call('HSET', batch_key(batch_id), 'cancel_before', string.format('%d', first))
  if first == 0 then
    end_batch(batch_id) -- for a batch that had nothing live
    answer[1] = 1
  end
  return answer
end
