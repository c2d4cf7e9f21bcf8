-- Give a claimed prediction back: `processing` becomes `starting`.
--
-- Input: prediction_id, owner, delay_s (before the next claim), retries (how many it counts as),
--   logs (a line, or '').
-- Output: 1, or 0 where the lease is no longer the owner's.
-- Changes: the record and the queue.
-- @include common
-- @include owned
-- @include move
-- @include note
-- @include enqueue
local prediction_id, owner, delay_s, retries, logs = unpack(ARGV, 3)

if not owned(prediction_id, owner) or not move(prediction_id, 'starting') then return 0 end
redis.call('HINCRBY', prediction_key(prediction_id), 'retries', retries)
redis.call('HSET', prediction_key(prediction_id), 'queued_at', exact(now))
note(prediction_id, logs)
enqueue(prediction_id, now + delay_s)
return 1
