-- Claim deliveries that are due, for one sender: keys in turn, and a key's receivers in turn.
--
-- Input: owner (new for every call), most (how many at most).
-- Output: {now, wait_s (until the next may be sent, or -1), {{id, record, source, secrets} …}}; the
--   first two are text. `source` is the record that the body is made from, nil where a body is
--   stored; `secrets` are those of the key.
-- Changes: the deliveries' records, what is being sent, and all turns.
-- @include common
-- @include deliveries/delivery_fields
-- @include deliveries/source
-- @include deliveries/live_on
-- @include deliveries/set_aside
local owner, most = unpack(ARGV, 3)
most = tonumber(most)

-- The record as fields and values, without an output that is too long for a body.
local function read_source(kind, subject_id)
  local source, names, flat = source_key(kind, subject_id), {}, {}
  if redis.call('HSTRLEN', source, 'output') <= limits.max_output_bytes then
    return redis.call('HGETALL', source)
  end
  for _, name in ipairs(redis.call('HKEYS', source)) do
    if name ~= 'output' then table.insert(names, name) end
  end
  for at, value in ipairs(redis.call('HMGET', source, unpack(names))) do
    table.insert(flat, names[at])
    table.insert(flat, value)
  end
  table.insert(flat, 'output_left_out')
  table.insert(flat, '1')
  return flat
end

local function start_attempt(delivery_id, receiver)
  local record = delivery_key(delivery_id)
  local status, endpoint, body, kind, subject_id, key_name =
    delivery_fields(delivery_id, 'status', 'endpoint', 'body', 'kind', 'subject_id', 'key')
  if not status then -- its record is gone
    redis.call('ZREM', deliveries_open_key, delivery_id)
    redis.call('ZREM', deliveries_key, delivery_id)
    return nil
  end
  if redis.call('EXISTS', endpoint_stopped_key(endpoint)) == 1 then
    return set_aside(delivery_id, receiver, 'stopped', 'endpoint_gone')
  end
  local source = false
  if not body then
    source = read_source(kind, subject_id)
    if #source == 0 then return set_aside(delivery_id, receiver, 'dead', 'record_gone') end
  end
  redis.call('HSET', record, 'status', 'sending', 'owner', owner)
  redis.call('HDEL', record, 'due')
  local attempts = redis.call('HINCRBY', record, 'attempts', 1)
  if attempts == 1 then redis.call('ZADD', deliveries_open_key, exact(now), delivery_id) end
  live_on(delivery_id, limits.keep_s)
  redis.call('SADD', receiver_sending_key(receiver), delivery_id)
  redis.call('SADD', key_sending_key(key_name), delivery_id)
  redis.call('ZADD', deliveries_sending_key, exact(now + limits.lease_s), delivery_id)
  redis.call('ZADD', deliveries_key, exact(now), delivery_id)
  local secrets = redis.call('HGET', webhook_secrets_key, key_name)
  return {delivery_id, redis.call('HGETALL', record), source, secrets}
end

-- The first delivery of a receiver, where it is due.
local function try_receiver(key_name, receiver)
  local ready, health = receiver_ready_key(receiver), receiver_key(receiver)
  local delivery_id, due = unpack(redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES'))
  local failures, paused_until = unpack(redis.call('HMGET', health, 'failures', 'paused_until'))
  -- A receiver that keeps failing is probed, with one delivery at a time.
  local probed = tonumber(failures or 0) >= limits.pause_after
  local slots = probed and 1 or limits.max_per_receiver
  local at = math.max(tonumber(due or 0), tonumber(paused_until or 0))
  if not delivery_id or redis.call('SCARD', receiver_sending_key(receiver)) >= slots then
    redis.call('ZREM', receivers_key(key_name), receiver)
  elseif at > now then
    redis.call('ZADD', receivers_key(key_name), exact(at), receiver)
  else
    redis.call('ZREM', ready, delivery_id)
    -- The receiver goes behind those that have waited longer.
    redis.call('ZADD', receivers_key(key_name), exact(now), receiver)
    return start_attempt(delivery_id, receiver)
  end
end

local claimed = {}
for step = 1, 2 * most + AT_A_TIME do
  -- Each turn is later than the last, so that keys take turns within a call too.
  local turn = exact(now + step / 1000000)
  if #claimed >= most then break end
  local key_name = redis.call('ZRANGEBYSCORE', receiver_turns_key, '-inf', turn, 'LIMIT', 0, 1)[1]
  if not key_name then break end
  local receiver, at = unpack(redis.call('ZRANGE', receivers_key(key_name), 0, 0, 'WITHSCORES'))
  if not receiver or redis.call('SCARD', key_sending_key(key_name)) >= limits.max_per_key then
    -- A filed delivery, or the end of an attempt, gives the key a turn again.
    redis.call('ZREM', receiver_turns_key, key_name)
  elseif tonumber(at) > now then
    redis.call('ZADD', receiver_turns_key, at, key_name)
  else
    redis.call('ZADD', receiver_turns_key, turn, key_name)
    local outgoing = try_receiver(key_name, receiver)
    if outgoing then table.insert(claimed, outgoing) end
  end
end
local next_at = redis.call('ZRANGE', receiver_turns_key, 0, 0, 'WITHSCORES')[2]
return {exact(now), exact(next_at and math.max(0, next_at - now) or -1), claimed}
