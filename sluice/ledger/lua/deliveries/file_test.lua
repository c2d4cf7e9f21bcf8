-- File a test event, which belongs to no prediction. Its body is stored from the start.
--
-- Input: delivery_id, subject_id, url, key_name, body.
-- Changes: the delivery's record and the queue of its receiver.
-- @include common
-- @include deliveries/record_delivery
-- @include deliveries/queue
local delivery_id, subject_id, url, key_name, body = unpack(ARGV, 3)

local receiver = record_delivery(delivery_id, 'webhook', subject_id, 'test', url, key_name)
redis.call('HSET', delivery_key(delivery_id), 'body', body)
queue_delivery(delivery_id, receiver, now)
return 1
