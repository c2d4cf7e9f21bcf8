-- Send a settled delivery once more, with the same id.
--
-- Input: delivery_id.
-- Output: 1, or why not: 'unknown', 'waiting' (it is on its way), 'ended' (a start would come after
--   its end), 'gone' (the record that the body is made from is gone).
-- Changes: the delivery's record and its receiver's queue. A receiver that was paused or stopped is
--   tried again.
-- @include common
-- @include deliveries/delivery_fields
-- @include deliveries/source
-- @include deliveries/hold_source
-- @include deliveries/live_on
-- @include deliveries/queue
local delivery_id = ARGV[3]

local status, receiver, endpoint, body =
  delivery_fields(delivery_id, 'status', 'receiver', 'endpoint', 'body')
local kind, subject_id, event = delivery_fields(delivery_id, 'kind', 'subject_id', 'event')
if not status then return 'unknown' end
if status == 'waiting' or status == 'sending' or status == 'held' then return 'waiting' end
local is_start = kind == 'prediction' and event == 'start'
if is_start and delivery_fields(subject_id .. '_completed', 'status') then return 'ended' end
if not body and redis.call('EXISTS', source_key(kind, subject_id)) == 0 then return 'gone' end

redis.call('HSET', delivery_key(delivery_id), 'failures', 0)
redis.call('HDEL', delivery_key(delivery_id), 'reason', 'lapses')
redis.call('ZREM', deliveries_dead_key, delivery_id)
redis.call('ZADD', deliveries_open_key, exact(now), delivery_id)
redis.call('DEL', endpoint_stopped_key(endpoint))
redis.call('HDEL', receiver_key(receiver), 'paused_until')
live_on(delivery_id, limits.keep_s)
if not body then hold_source(delivery_id, kind, subject_id) end
queue_delivery(delivery_id, receiver, now)
return 1
