-- Cancel a batch, a hundred predictions a call: Redis does nothing else meanwhile.
--
-- Input: batch_id, is_first ('1' in the first call).
-- Output: that of `include/batches/cancel_some.lua`; 0 where the batch has ended already, nil where
--   it is unknown.
-- Changes: the batch's record, which takes no more predictions, and the predictions.
-- @include common
-- @include batches/batch_fields
-- @include batches/cancel_some
local batch_id, is_first = unpack(ARGV, 3)

local total, completed_at, canceled_at =
  batch_fields(batch_id, 'total', 'completed_at', 'canceled_at')
if not total then return false end
if completed_at and is_first == '1' then return 0 end
if not canceled_at then
  redis.call('HSET', batch_key(batch_id), 'canceled_at', exact(now), 'sealed', 1)
  redis.call('ZADD', batches_key, exact(now), batch_id)
end
return cancel_some(batch_id)
