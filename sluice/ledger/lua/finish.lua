-- End an attempt and its prediction: `processing` becomes `succeeded` or `failed`.
--
-- Input: prediction_id, owner, status, field ('output' or 'error'), value (its JSON), metrics
--   (JSON), logs (a line, or '').
-- Output: 1, or 0 where the lease is no longer the owner's.
-- Changes: all that `include/finish.lua` changes, and the drain rate.
-- @include common
-- @include owned
-- @include move
-- @include note
-- @include finish
-- @include drain_rate
local prediction_id, owner, status, field_name, value, metrics, logs = unpack(ARGV, 3)

if not owned(prediction_id, owner) or not move(prediction_id, status) then return 0 end
note(prediction_id, logs)
finish(prediction_id, limits.retention_s, field_name, value, metrics)
-- Only while others wait: the rate of an idle queue is that of its clients, and tells nothing of
-- its limit.
if redis.call('EXISTS', deadlines_key) == 1 then
  local bucket = ended_key(math.floor(now / RATE_BUCKET_S))
  redis.call('INCRBY', bucket, 1)
  redis.call('EXPIRE', bucket, 12 * RATE_BUCKET_S)
end
return 1
