-- Put a batch on record, so that predictions may be created for it; or open the same batch again.
--
-- Input: batch_id, digest, then the record's fields and values in turn.
-- Output: created_at where the record is new, else 'known', 'reused' (another digest) or 'gone'
--   (its retention is over).
-- Changes: the batch's record, which is no longer sealed, and the time of its sweep.
-- @include common
-- @include batches/is_closed
local batch_id, digest = unpack(ARGV, 3, 4)
local record, created_at = batch_key(batch_id), exact(now)

local known = redis.call('HGET', record, 'digest')
if not known and redis.call('EXISTS', gone_batch_key(batch_id)) == 1 then return 'gone' end
if known and known ~= digest then return 'reused' end
if not known then
  redis.call('HSET', record, 'digest', digest, 'created_at', created_at, unpack(ARGV, 5))
elseif is_closed(batch_id) then
  return 'known'
end
redis.call('HDEL', record, 'sealed')
redis.call('ZADD', batches_key, exact(now + limits.batch_idle_s), batch_id)
return known and 'known' or created_at
