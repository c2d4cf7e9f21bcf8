-- Queue again what lost its sender, and give up what is past its time.
--
-- Output: {{ids whose sender was lost}, {ids given up}}.
-- Changes: these deliveries, at most AT_A_TIME of each kind; the oldest dead ones leave the list.
-- @include common
-- @include due_in
-- @include deliveries/delivery_fields
-- @include deliveries/live_on
-- @include deliveries/log_attempt
-- @include deliveries/set_aside
-- @include deliveries/end_attempt
-- @include deliveries/queue_again
local LONGEST_LAPSE_DELAY_S = 600
local lost, given_up = {}, {}

local function handle_lapse(delivery_id)
  local receiver, kind, subject_id, event =
    delivery_fields(delivery_id, 'receiver', 'kind', 'subject_id', 'event')
  redis.call('ZREM', deliveries_sending_key, delivery_id)
  if not receiver then return end -- its record is gone
  end_attempt(delivery_id, receiver)
  local attempt = '{"at":%.6f,"duration_s":%.6f,"error":"sender_lost"}'
  log_attempt(delivery_id, string.format(attempt, now, limits.lease_s))
  live_on(delivery_id, limits.keep_s)
  local lapses = redis.call('HINCRBY', delivery_key(delivery_id), 'lapses', 1)
  local delay_s = math.min(LONGEST_LAPSE_DELAY_S, (lapses - 1) ^ 2)
  queue_again(delivery_id, receiver, kind, subject_id, event, now + delay_s)
  offer_turn(receiver)
  table.insert(lost, delivery_id)
end

-- A delivery is given up long after its first attempt; one without an attempt, when its receiver
-- has failed for as long.
local function give_up(delivery_id)
  local status, receiver, attempts = delivery_fields(delivery_id, 'status', 'receiver', 'attempts')
  if not status then -- its record is gone
    redis.call('ZREM', deliveries_open_key, delivery_id)
    redis.call('ZREM', deliveries_key, delivery_id)
    return
  end
  local attempted = tonumber(attempts or 0) > 0
  local failing_since = receiver and redis.call('HGET', receiver_key(receiver), 'failing_since')
  local failed_long = failing_since and tonumber(failing_since) <= now - limits.give_up_s
  if status == 'waiting' and (attempted or failed_long) then
    set_aside(delivery_id, receiver, 'dead', 'age')
    table.insert(given_up, delivery_id)
  else -- a later sweep looks at it again
    local score = exact(now - limits.give_up_s + LONGEST_LAPSE_DELAY_S)
    redis.call('ZADD', deliveries_open_key, score, delivery_id)
  end
end

for _, id in ipairs(due_in(deliveries_sending_key, AT_A_TIME)) do handle_lapse(id) end
local oldest = exact(now - limits.give_up_s)
local old = redis.call('ZRANGEBYSCORE', deliveries_open_key, '-inf', oldest, 'LIMIT', 0, AT_A_TIME)
for _, id in ipairs(old) do give_up(id) end
redis.call('ZREMRANGEBYSCORE', deliveries_dead_key, '-inf', exact(now - limits.keep_s))
redis.call('ZREMRANGEBYRANK', deliveries_dead_key, 0, -1 - limits.max_dead)
return {lost, given_up}
