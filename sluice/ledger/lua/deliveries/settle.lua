-- Record the outcomes of attempts.
--
-- Input: for each attempt seven arguments: id, owner, outcome ('delivered', 'failed', 'gone' or
--   'not_attempted'), delay_s (until the next attempt, or ''), its log entry (JSON), body,
--   cooldown_s (how long the receiver asks to be left alone).
-- Output: for each attempt 1, or 0 where its lease has lapsed and nothing was changed.
-- Changes: the deliveries' records and logs, their receivers' health, and what is queued next.
-- @include common
-- @include deliveries/delivery_fields
-- @include deliveries/source
-- @include deliveries/live_on
-- @include deliveries/log_attempt
-- @include deliveries/settle
-- @include deliveries/set_aside
-- @include deliveries/end_attempt
-- @include deliveries/queue_again
local FIRST_OUTCOME, ARGUMENTS = 3, 7

-- After some failures in a row a receiver is paused, each time for longer. A success ends the
-- pause.
local function pause_s(receiver)
  local pauses = redis.call('HINCRBY', receiver_key(receiver), 'pauses', 1)
  return math.min(limits.longest_pause_s, limits.first_pause_s * 2 ^ math.min(30, pauses - 1))
end

local function record_health(receiver, delivered, cooldown_s)
  local health = receiver_key(receiver)
  if delivered then return redis.call('DEL', health) end
  local failures = redis.call('HINCRBY', health, 'failures', 1)
  if failures == 1 then redis.call('HSET', health, 'failing_since', exact(now)) end
  local paused_until = tonumber(redis.call('HGET', health, 'paused_until') or 0)
  local pause_until = now + cooldown_s
  if failures >= limits.pause_after and paused_until <= now then
    pause_until = math.max(pause_until, now + pause_s(receiver))
    -- KEDA need not count what waits for a paused receiver: one more sender would be of no use.
    local waiting = redis.call('ZRANGE', receiver_ready_key(receiver), 0, 10 * AT_A_TIME)
    for _, delivery_id in ipairs(waiting) do redis.call('ZREM', deliveries_key, delivery_id) end
  end
  if pause_until > now then
    redis.call('HSET', health, 'paused_until', exact(math.max(paused_until, pause_until)))
  end
  redis.call('EXPIRE', health, limits.keep_s)
end

-- The subject's record gets back the time to live that `hold_source` prolonged.
local function release_source(delivery_id, kind, subject_id)
  local source_until = delivery_fields(delivery_id, 'source_until')
  if not source_until then return end
  redis.call('HDEL', delivery_key(delivery_id), 'source_until')
  redis.call('EXPIREAT', source_key(kind, subject_id), math.floor(source_until))
end

local function record_outcome(delivery_id, owner, outcome, delay_s, attempt, body, cooldown_s)
  local status, holder, receiver, endpoint =
    delivery_fields(delivery_id, 'status', 'owner', 'receiver', 'endpoint')
  local kind, subject_id, event = delivery_fields(delivery_id, 'kind', 'subject_id', 'event')
  if status ~= 'sending' or holder ~= owner then return 0 end
  end_attempt(delivery_id, receiver)
  if outcome == 'not_attempted' then
    redis.call('HINCRBY', delivery_key(delivery_id), 'attempts', -1)
    queue_again(delivery_id, receiver, kind, subject_id, event, now)
    offer_turn(receiver)
    return 1
  end
  log_attempt(delivery_id, attempt)
  live_on(delivery_id, limits.keep_s)
  if outcome ~= 'gone' then
    record_health(receiver, outcome == 'delivered', tonumber(cooldown_s))
  end
  if outcome == 'delivered' then
    settle_delivery(delivery_id, receiver, 'delivered')
    redis.call('HDEL', delivery_key(delivery_id), 'body')
    live_on(delivery_id, limits.retention_s)
  else
    redis.call('HSET', delivery_key(delivery_id), 'body', body)
    redis.call('HINCRBY', delivery_key(delivery_id), 'failures', 1)
  end
  release_source(delivery_id, kind, subject_id)
  if outcome == 'gone' then
    redis.call('SET', endpoint_stopped_key(endpoint), '', 'EX', limits.stop_s)
    set_aside(delivery_id, receiver, 'stopped', 'endpoint_gone')
  elseif outcome == 'failed' and delay_s == '' then
    set_aside(delivery_id, receiver, 'dead', 'attempts')
  elseif outcome == 'failed' then
    queue_again(delivery_id, receiver, kind, subject_id, event, now + delay_s)
  end
  queue_held_end(kind, subject_id, event)
  offer_turn(receiver)
  return 1
end

local answers = {}
for at = FIRST_OUTCOME, #ARGV, ARGUMENTS do
  table.insert(answers, record_outcome(unpack(ARGV, at, at + ARGUMENTS - 1)))
end
return answers
