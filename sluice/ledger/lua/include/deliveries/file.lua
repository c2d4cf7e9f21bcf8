-- File the delivery of an event of a prediction or a batch, where its record names a webhook.
--
-- Input: kind ('prediction' or 'batch'), the id, event ('start' or 'completed').
-- Reads from the record: `webhook` (a URL), `webhook_events` (separated by commas; absent: all),
--   `key`, `traceparent` and `tracestate`.
-- Changes: the delivery's record and the queue of its receiver; prolongs the life of the subject's
--   record until the delivery's body is stored. An event is filed once. An end supersedes a start
--   that still waits.
-- @include deliveries/delivery_fields
-- @include deliveries/hold_source
-- @include deliveries/record_delivery
-- @include deliveries/queue
-- @include deliveries/settle
local function file_delivery(kind, subject_id, event)
  local source = source_key(kind, subject_id)
  local url, events, key_name, traceparent, tracestate = unpack(redis.call(
    'HMGET', source, 'webhook', 'webhook_events', 'key', 'traceparent', 'tracestate'))
  if not url then return end
  key_name = key_name or 'default'

  local start, start_status, start_receiver
  if kind == 'prediction' and event == 'completed' then
    start = subject_id .. '_start'
    start_status, start_receiver = delivery_fields(start, 'status', 'receiver')
  end
  if events and not string.find(',' .. events .. ',', ',' .. event .. ',', 1, true) then
    if start_status == 'waiting' or start_status == 'sending' then
      hold_source(start, kind, subject_id)
    end
    return
  end
  local delivery_id = subject_id .. '_' .. (kind == 'prediction' and '' or kind .. '_') .. event
  if redis.call('EXISTS', delivery_key(delivery_id)) == 1 then return end
  if start_status == 'waiting' then settle_delivery(start, start_receiver, 'superseded') end

  local receiver = record_delivery(delivery_id, kind, subject_id, event, url, key_name)
  if traceparent then
    redis.call('HSET', delivery_key(delivery_id), 'traceparent', traceparent, 'tracestate',
      tracestate or '')
  end
  hold_source(delivery_id, kind, subject_id)
  -- An end may not arrive before the start that is being sent: the end is queued when the start's
  -- attempt is over.
  if start_status ~= 'sending' then queue_delivery(delivery_id, receiver, now) end
end
