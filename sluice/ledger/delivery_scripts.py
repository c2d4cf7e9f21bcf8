"""The deliveries' scripts in Lua. Each runs atomically in Redis. `FILE` is the part that the ledger's scripts contain.

Every script takes ARGV[1] = the queue's hash tag, then its own arguments. KEYS[1] only tells a cluster which node to run on: all
other keys have the same hash tag, and are listed in `sluice/ledger/deliveries.py`.
"""

UNSEEN_S = (
    3 * 24 * 3600
)  # how long a delivery waits for its first attempt: the senders may be away for so long
_AT_A_TIME = 100  # Redis does nothing else meanwhile; what is left over is the next sweep's
_LONGEST_LAPSE_DELAY_S = 600

_NAMES = (
    f"local UNSEEN_S, AT_A_TIME, LONGEST_LAPSE_DELAY_S = {UNSEEN_S}, {_AT_A_TIME}, {_LONGEST_LAPSE_DELAY_S}\n"
    + """
local counted, open, sending = tag .. ':deliveries', tag .. ':deliveries-open', tag .. ':deliveries-sending'
local turns, buried = tag .. ':receiver-turns', tag .. ':deliveries-dead'
local function delivery(name) return tag .. ':delivery:' .. name end
local function log(name) return tag .. ':delivery-log:' .. name end
local function receiver(of) return tag .. ':receiver:' .. of end
local function ready(of) return tag .. ':receiver-ready:' .. of end
local function busy(of) return tag .. ':receiver-sending:' .. of end
local function key_of(of) return string.match(of, '^[^/]+') end
local function receivers(key) return tag .. ':receivers:' .. key end
local function key_busy(key) return tag .. ':key-sending:' .. key end
local function stopped(endpoint) return tag .. ':endpoint-stopped:' .. endpoint end
local function source(kind, of) return tag .. ':' .. kind .. ':' .. of end
local function get(name, ...) return redis.call('HMGET', delivery(name), ...) end

-- Have the delivery sent to `of` from `at` on. It counts for KEDA if it is due, and if a sender more would be of use.
local function queue(name, of, at)
  local paused_until = tonumber(redis.call('HGET', receiver(of), 'paused_until') or 0)
  redis.call('HSET', delivery(name), 'status', 'waiting', 'due', exact(at))
  redis.call('ZADD', ready(of), exact(at), name)
  if at <= now and paused_until <= now then redis.call('ZADD', counted, exact(at), name) else redis.call('ZREM', counted, name) end
  local turn_at, key = exact(math.max(at, paused_until)), key_of(of)
  redis.call('ZADD', receivers(key), 'LT', turn_at, of)
  if redis.call('ZADD', turns, 'LT', 'CH', turn_at, key) == 1 and at <= now then
    redis.call('PUBLISH', tag .. ':deliveries-news', '')
  end
end
-- Nothing more is to be done for it, but that its record is kept for as long as it has to live.
local function close(name, of, status)
  redis.call('HSET', delivery(name), 'status', status)
  redis.call('HDEL', delivery(name), 'due', 'owner')
  redis.call('ZREM', ready(of), name)
  redis.call('ZREM', counted, name)
  redis.call('ZREM', open, name)
end
-- The record that the body is made from outlives its retention until the body is stored; `give_up_source` puts that back.
local function hold_source(name, kind, of)
  local ttl = redis.call('TTL', source(kind, of))
  if ttl < 0 then return end
  redis.call('HSET', delivery(name), 'source_until', exact(now + ttl))
  if ttl >= UNSEEN_S then return end
  redis.call('EXPIRE', source(kind, of), UNSEEN_S)
  local gone = tag .. ':gone:' .. (kind == 'prediction' and '' or kind .. ':') .. of
  local longer = redis.call('TTL', gone) - ttl
  if longer > 0 then redis.call('EXPIRE', gone, UNSEEN_S + longer) end
end
"""
)

# For the ledger: after its own `tag`, `now` and `exact`, and before what calls it. `file(of, event)` files the delivery of an event
# ('start' or 'completed') of a prediction, where its record has a `webhook`; `file(of, 'completed', 'batch')` of a batch, whose
# record is `{queue}:batch:<id>`. The record has the fields `webhook` (an http or https URL), `webhook_events` (separated by commas;
# absent: all), `key` and `base_url`. In `finish` it comes after EXPIRE, which it prolongs until the delivery's body is stored.
FILE = (
    "local file\ndo\n"
    + _NAMES
    + """
function file(of, event, kind)
  kind = kind or 'prediction'
  local asked = redis.call('HMGET', source(kind, of), 'webhook', 'webhook_events', 'key')
  local url, events, key = asked[1], asked[2], asked[3] or 'default'
  if not url then return end
  local start = kind == 'prediction' and event == 'completed' and of .. '_start'
  local before = start and get(start, 'status', 'receiver') or {}
  if events and not string.find(',' .. events .. ',', ',' .. event .. ',', 1, true) then
    if before[1] == 'waiting' or before[1] == 'sending' then hold_source(start, kind, of) end
    return
  end
  local name = of .. '_' .. (kind == 'prediction' and '' or kind .. '_') .. event
  if redis.call('EXISTS', delivery(name)) == 1 then return end
  if before[1] == 'waiting' then close(start, before[2], 'superseded') end
  local origin = string.lower(string.match(url, '^%a+://[^/?#]+') or url)
  local to = key .. '/' .. redis.sha1hex(origin)
  redis.call('HSET', delivery(name), 'kind', kind, 'subject_id', of, 'event', event, 'url', url, 'key', key, 'receiver', to,
    'endpoint', redis.sha1hex(key .. ' ' .. string.match(url, '^[^?#]*')), 'status', 'held', 'created_at', exact(now))
  redis.call('EXPIRE', delivery(name), UNSEEN_S)
  redis.call('ZADD', open, exact(now), name)
  hold_source(name, kind, of)
  -- A start that is on its way may not arrive later than this; whoever settles it lets this one go.
  if before[1] ~= 'sending' then queue(name, to, now) end
end
end
"""
)

# The limits are those of `sluice/ledger/deliveries.py`, as JSON.
_PRELUDE = (
    """
local tag, limits = ARGV[1], cjson.decode(ARGV[2])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local function exact(seconds) return string.format('%.6f', seconds) end
"""
    + _NAMES
    + """
local function live_on(name, ttl_s)
  redis.call('EXPIRE', delivery(name), ttl_s)
  redis.call('EXPIRE', log(name), ttl_s)
end
local function note(name, attempt)
  redis.call('RPUSH', log(name), attempt)
  redis.call('LTRIM', log(name), -limits.max_logged, -1)
end
local function bury(name, of, status, reason)
  close(name, of, status)
  redis.call('HSET', delivery(name), 'reason', reason)
  redis.call('ZADD', buried, exact(now), name)
  live_on(name, limits.keep_s)
end
local function give_up_source(name, kind, of)
  local at = get(name, 'source_until')[1]
  if not at then return end
  redis.call('HDEL', delivery(name), 'source_until')
  redis.call('EXPIREAT', source(kind, of), math.floor(at))
end
-- There is a place more for `to`, and for its key.
local function offer(to)
  local key = key_of(to)
  if redis.call('EXISTS', ready(to)) == 1 then
    local paused_until = tonumber(redis.call('HGET', receiver(to), 'paused_until') or 0)
    redis.call('ZADD', receivers(key), 'LT', exact(math.max(now, paused_until)), to)
  end
  local next_at = redis.call('ZRANGE', receivers(key), 0, 0, 'WITHSCORES')[2]
  if next_at then redis.call('ZADD', turns, 'LT', exact(math.max(now, next_at)), key) end
end
-- Its attempt is over, whichever way.
local function release(name, to)
  redis.call('HDEL', delivery(name), 'owner')
  redis.call('ZREM', sending, name)
  redis.call('SREM', busy(to), name)
  redis.call('SREM', key_busy(key_of(to)), name)
end
-- After a start the end may be sent.
local function let_go(kind, of, event)
  local after = kind == 'prediction' and event == 'start' and get(of .. '_completed', 'status', 'receiver') or {}
  if after[1] == 'held' then queue(of .. '_completed', after[2], now) end
  return after[1]
end
-- To be sent at `at`, unless it is a start whose prediction has ended.
local function again(name, to, kind, of, event, at)
  if let_go(kind, of, event) then close(name, to, 'superseded') else queue(name, to, at) end
end
"""
)

# owner, how many at most → {now, s until the next may be sent or -1, {{id, delivery, its source, the secrets} …}}
CLAIM = (
    _PRELUDE
    + """
local function material(kind, of)
  local from, fields, found = source(kind, of), {}, {}
  if redis.call('HSTRLEN', from, 'output') <= limits.max_output_bytes then return redis.call('HGETALL', from) end
  for _, name in ipairs(redis.call('HKEYS', from)) do
    if name ~= 'output' then table.insert(fields, name) end
  end
  for at, value in ipairs(redis.call('HMGET', from, unpack(fields))) do
    table.insert(found, fields[at])
    table.insert(found, value)
  end
  table.insert(found, 'output_left_out')
  table.insert(found, '1')
  return found
end
local function take(name, to)
  local held = get(name, 'status', 'endpoint', 'body', 'kind', 'subject_id', 'attempts', 'key')
  if not held[1] then
    redis.call('ZREM', open, name)  -- its record is gone: debris
    redis.call('ZREM', counted, name)
    return nil
  end
  if redis.call('EXISTS', stopped(held[2])) == 1 then return bury(name, to, 'stopped', 'endpoint_gone') end
  local from = false
  if not held[3] then
    from = material(held[4], held[5])
    if #from == 0 then return bury(name, to, 'dead', 'record_gone') end
  end
  redis.call('HSET', delivery(name), 'status', 'sending', 'owner', ARGV[3])
  redis.call('HDEL', delivery(name), 'due')
  if redis.call('HINCRBY', delivery(name), 'attempts', 1) == 1 then redis.call('ZADD', open, exact(now), name) end
  live_on(name, limits.keep_s)
  redis.call('SADD', busy(to), name)
  redis.call('SADD', key_busy(held[7]), name)
  redis.call('ZADD', sending, exact(now + limits.lease_s), name)
  redis.call('ZADD', counted, exact(now), name)
  return {name, redis.call('HGETALL', delivery(name)), from, redis.call('HGET', tag .. ':webhook-secrets', held[7])}
end

-- The first receiver of `key`, where it is due.
local function try(key, to)
  local first = redis.call('ZRANGE', ready(to), 0, 0, 'WITHSCORES')
  local state = redis.call('HMGET', receiver(to), 'failures', 'paused_until')
  -- One that keeps failing is probed: with one delivery at a time.
  local slots = tonumber(state[1] or 0) >= limits.pause_after and 1 or limits.max_per_receiver
  local at = math.max(tonumber(first[2] or 0), tonumber(state[2] or 0))
  if not first[1] or redis.call('SCARD', busy(to)) >= slots then
    redis.call('ZREM', receivers(key), to)
  elseif at > now then
    redis.call('ZADD', receivers(key), exact(at), to)
  else
    redis.call('ZREM', ready(to), first[1])
    redis.call('ZADD', receivers(key), exact(now), to)  -- behind those that have waited longer
    return take(first[1], to)
  end
end

local claimed, most = {}, tonumber(ARGV[4])
for step = 1, 2 * most + AT_A_TIME do
  local turn = exact(now + step / 1000000)  -- each later than the last, so that within a call keys take turns as well
  local key = #claimed < most and redis.call('ZRANGEBYSCORE', turns, '-inf', turn, 'LIMIT', 0, 1)[1]
  if not key then break end
  local first = redis.call('ZRANGE', receivers(key), 0, 0, 'WITHSCORES')
  if not first[1] or redis.call('SCARD', key_busy(key)) >= limits.max_per_key then
    redis.call('ZREM', turns, key)  -- until a delivery is filed, or one that is being sent has ended
  elseif tonumber(first[2]) > now then
    redis.call('ZADD', turns, first[2], key)
  else
    redis.call('ZADD', turns, turn, key)
    local found = try(key, first[1])
    if found then table.insert(claimed, found) end
  end
end
local next_at = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')[2]
return {exact(now), exact(next_at and math.max(0, next_at - now) or -1), claimed}
"""
)

# for each attempt: id, owner, 'delivered', 'failed', 'gone' or 'not_attempted', s until the next one or '', its log entry, the body,
# s for which the receiver asks to be left alone → {1, or 0 where the attempt's lease has lapsed …}
SETTLE = (
    _PRELUDE
    + """
local function judge(to, well, rest_s)
  if well then return redis.call('DEL', receiver(to)) end
  local failures = redis.call('HINCRBY', receiver(to), 'failures', 1)
  if failures == 1 then redis.call('HSET', receiver(to), 'failing_since', exact(now)) end
  local paused_until = tonumber(redis.call('HGET', receiver(to), 'paused_until') or 0)
  local until_then = now + rest_s
  if failures >= limits.pause_after and paused_until <= now then
    local pauses = redis.call('HINCRBY', receiver(to), 'pauses', 1)
    until_then = math.max(until_then, now + math.min(limits.longest_pause_s, limits.first_pause_s * 2 ^ math.min(30, pauses - 1)))
    -- A sender more would be of no use to what waits here.
    for _, waiting in ipairs(redis.call('ZRANGE', ready(to), 0, 10 * AT_A_TIME)) do redis.call('ZREM', counted, waiting) end
  end
  if until_then > now then redis.call('HSET', receiver(to), 'paused_until', exact(math.max(paused_until, until_then))) end
  redis.call('EXPIRE', receiver(to), limits.keep_s)
end

local function settle(name, owner, outcome, delay_s, attempt, body, rest_s)
  local held = get(name, 'status', 'owner', 'receiver', 'kind', 'subject_id', 'event', 'endpoint')
  local to, kind, of, event = held[3], held[4], held[5], held[6]
  if held[1] ~= 'sending' or held[2] ~= owner then return 0 end
  release(name, to)
  if outcome == 'not_attempted' then
    redis.call('HINCRBY', delivery(name), 'attempts', -1)
    again(name, to, kind, of, event, now)
    offer(to)
    return 1
  end
  note(name, attempt)
  live_on(name, limits.keep_s)
  if outcome ~= 'gone' then judge(to, outcome == 'delivered', tonumber(rest_s)) end
  if outcome == 'delivered' then
    close(name, to, 'delivered')
    redis.call('HDEL', delivery(name), 'body')
    live_on(name, limits.retention_s)
  else
    redis.call('HSET', delivery(name), 'body', body)
    redis.call('HINCRBY', delivery(name), 'failures', 1)
  end
  give_up_source(name, kind, of)
  if outcome == 'gone' then
    redis.call('SET', stopped(held[7]), '', 'EX', limits.stop_s)
    bury(name, to, 'stopped', 'endpoint_gone')
  elseif outcome == 'failed' and delay_s == '' then
    bury(name, to, 'dead', 'attempts')
  elseif outcome == 'failed' then
    again(name, to, kind, of, event, now + delay_s)
  end
  let_go(kind, of, event)
  offer(to)
  return 1
end

local answers = {}
for at = 3, #ARGV, 7 do table.insert(answers, settle(unpack(ARGV, at, at + 6))) end
return answers
"""
)

# → {ids whose sender was lost}, {ids given up}
SWEEP = (
    _PRELUDE
    + """
local lost, given_up = {}, {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', sending, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME)) do
  local held = get(name, 'receiver', 'kind', 'subject_id', 'event')
  redis.call('ZREM', sending, name)
  if held[1] then
    release(name, held[1])
    note(name, '{"at":' .. exact(now) .. ',"duration_s":' .. exact(limits.lease_s) .. ',"error":"sender_lost"}')
    live_on(name, limits.keep_s)
    local lapses = redis.call('HINCRBY', delivery(name), 'lapses', 1)
    again(name, held[1], held[2], held[3], held[4], now + math.min(LONGEST_LAPSE_DELAY_S, (lapses - 1) ^ 2))
    offer(held[1])
    table.insert(lost, name)
  end
end
-- Scored by the first attempt, or by when it was filed while there was none.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', open, '-inf', exact(now - limits.give_up_s), 'LIMIT', 0, AT_A_TIME)) do
  local held = get(name, 'status', 'receiver', 'attempts')
  local tried = tonumber(held[3] or 0) > 0
  local since = held[2] and redis.call('HGET', receiver(held[2]), 'failing_since')
  if not held[1] then
    redis.call('ZREM', open, name)
    redis.call('ZREM', counted, name)
  elseif held[1] == 'waiting' and (tried or since and tonumber(since) <= now - limits.give_up_s) then
    bury(name, held[2], 'dead', 'age')
    table.insert(given_up, name)
  else
    redis.call('ZADD', open, exact(now - limits.give_up_s + LONGEST_LAPSE_DELAY_S), name)  -- to be looked at again
  end
end
redis.call('ZREMRANGEBYSCORE', buried, '-inf', exact(now - limits.keep_s))
redis.call('ZREMRANGEBYRANK', buried, 0, -1 - limits.max_dead)
return {lost, given_up}
"""
)

# id → 1, 'unknown', 'waiting', 'ended' or 'gone'
REDELIVER = (
    _PRELUDE
    + """
local name = ARGV[3]
local held = get(name, 'status', 'receiver', 'kind', 'subject_id', 'event', 'endpoint', 'body')
if not held[1] then return 'unknown' end
if held[1] == 'waiting' or held[1] == 'sending' or held[1] == 'held' then return 'waiting' end
local is_start = held[3] == 'prediction' and held[5] == 'start'
if is_start and redis.call('EXISTS', delivery(held[4] .. '_completed')) == 1 then return 'ended' end
if not held[7] and redis.call('EXISTS', source(held[3], held[4])) == 0 then return 'gone' end
redis.call('HSET', delivery(name), 'failures', 0)
redis.call('HDEL', delivery(name), 'reason', 'lapses')
redis.call('ZREM', buried, name)
redis.call('ZADD', open, exact(now), name)
redis.call('DEL', stopped(held[6]))
redis.call('HDEL', receiver(held[2]), 'paused_until')
live_on(name, limits.keep_s)
if not held[7] then hold_source(name, held[3], held[4]) end
queue(name, held[2], now)
return 1
"""
)
