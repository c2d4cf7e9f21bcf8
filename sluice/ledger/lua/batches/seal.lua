-- Seal a batch: no more predictions come. It ends with the last of them, maybe now.
--
-- Input: batch_id, then for each refused image its index and its error as JSON.
-- Output: 1, or nil where the batch is unknown.
-- Changes: the batch's record.
-- @include common
-- @include prediction_fields
-- @include batches/is_closed
-- @include batches/end_batch
local batch_id, FIRST_ERROR = ARGV[3], 4

if redis.call('EXISTS', batch_key(batch_id)) == 0 then return false end
local errors = {}
for at = FIRST_ERROR, #ARGV, 2 do
  local index, problem = ARGV[at], ARGV[at + 1]
  -- Another call may have created the prediction meanwhile; or this one, which did not get the
  -- answer.
  if prediction_fields(batch_id .. '-' .. index, 'batch') ~= batch_id then
    table.insert(errors, problem)
  end
end
local errors_json = '[' .. table.concat(errors, ',') .. ']'
redis.call('HSET', batch_key(batch_id), 'sealed', 1, 'errors', errors_json)
if not is_closed(batch_id) then redis.call('ZREM', batches_key, batch_id) end
end_batch(batch_id)
return 1
