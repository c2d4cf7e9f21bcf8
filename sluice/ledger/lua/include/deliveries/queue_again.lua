-- Queue the end that was held until its start's attempt was over. Returns the end's status before;
-- nil for any other event.
-- @include deliveries/delivery_fields
-- @include deliveries/queue
-- @include deliveries/settle
local function queue_held_end(kind, subject_id, event)
  if kind ~= 'prediction' or event ~= 'start' then return nil end
  local completed = subject_id .. '_completed'
  local status, receiver = delivery_fields(completed, 'status', 'receiver')
  if status == 'held' then queue_delivery(completed, receiver, now) end
  return status
end

-- Have a delivery sent again from `at` on, unless it is a start whose prediction has ended.
local function queue_again(delivery_id, receiver, kind, subject_id, event, at)
  if queue_held_end(kind, subject_id, event) then
    settle_delivery(delivery_id, receiver, 'superseded')
  else
    queue_delivery(delivery_id, receiver, at)
  end
end
