-- End an attempt and its prediction: `processing` becomes `succeeded` or `failed`.
--
-- Input: prediction_id, owner, status, field ('output' or 'error'), value (its JSON), metrics
--   (JSON), logs (a line, or '').
-- Output: 1, or 0 where the lease is no longer the owner's.
-- Changes: all that `include/finish.lua` changes, and the drain rate.
-- @include common
-- @include owned
-- @include note
-- @include finish
-- @include drain_rate
local prediction_id, owner, status, field_name, value, metrics, line = unpack(ARGV, 3)

local record = read_to_finish(prediction_id, 'logs')
if not owned(record, owner) then return 0 end
local queue = finish(prediction_id, record, status, limits.retention_s, field_name, value,
  'metrics', metrics, 'logs', note(record.logs, line))
if not queue then return 0 end
-- Only while others wait: the rate of an idle queue is that of its clients, and tells nothing of
-- its limit.
if queue == 'waiting' then
  local bucket = ended_key(math.floor(now / RATE_BUCKET_S))
  if redis.call('INCRBY', bucket, 1) == 1 then
    redis.call('EXPIRE', bucket, 12 * RATE_BUCKET_S)
  end
end
return 1
