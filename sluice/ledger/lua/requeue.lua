-- Give a claimed prediction back: `processing` becomes `starting`.
--
-- Input: prediction_id, owner, delay_s (before the next claim), retries (how many it counts as),
--   logs (a line, or '').
-- Output: 1, or 0 where the lease is no longer the owner's.
-- Changes: the record and the queue.
-- @include common
-- @include read_prediction
-- @include owned
-- @include move
-- @include note
-- @include enqueue
local prediction_id, owner, delay_s, retries, line = unpack(ARGV, 3)

local record = read_prediction(prediction_id, 'status', 'owner', 'batch', 'logs', 'retries',
  'deadline', 'lone_lapses', 'priority', 'key')
if not owned(record, owner) then return 0 end
retries = string.format('%d', (record.retries or 0) + retries)
local moved = move(prediction_id, record, 'starting', 'retries', retries, 'queued_at', exact(now),
  'owner', '', 'logs', note(record.logs, line))
if not moved then return 0 end
enqueue_again(prediction_id, record, now + delay_s)
return 1
