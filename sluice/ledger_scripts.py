"""The ledger's scripts in Lua. Each runs atomically in Redis; `move` is the only line that writes a status.

Every script takes ARGV[1] = the queue's hash tag and ARGV[2] = a prediction's id, then its own arguments. KEYS[1] only tells a
cluster which node to run on: all other keys have the same hash tag. A script's answer is nil or 0 where nothing was changed.
"""

from sluice.prediction import TRANSITIONS

_AT_A_TIME = 100  # Redis does nothing else meanwhile; what is left over is the next sweep's


def _lua_transitions() -> str:
    rows = (
        f"{before.value} = {{{', '.join(f'{after.value} = true' for after in sorted(afters))}}}"
        for before, afters in TRANSITIONS.items()
    )
    return "{" + ", ".join(rows) + "}"


_PRELUDE = (
    f"local ALLOWED = {_lua_transitions()}\nlocal AT_A_TIME = {_AT_A_TIME}\n"
    + """
local tag, id = ARGV[1], ARGV[2]
local queued, alone, leases, live = tag .. ':queued', tag .. ':alone', tag .. ':leases', tag .. ':live'
local deadlines, bytes, dead = tag .. ':deadlines', tag .. ':bytes', tag .. ':dead'
local function record(of) return tag .. ':prediction:' .. of end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- Lua writes a number with 14 digits at most, which would cut a time to milliseconds.
local function exact(seconds) return string.format('%.6f', seconds) end
local function field(of, name) return redis.call('HGET', record(of), name) end

local function move(of, to)
  local from = field(of, 'status')
  if not from or not (ALLOWED[from] or {})[to] then return false end
  redis.call('HSET', record(of), 'status', to)
  return true
end
local function owned(owner)
  local held = redis.call('HMGET', record(id), 'status', 'owner')
  return held[1] == 'processing' and held[2] == owner
end
local function enqueue(of, due)
  redis.call('ZREM', leases, of)
  redis.call('HDEL', record(of), 'owner')
  redis.call('ZADD', field(of, 'lone_lapses') and alone or queued, exact(due), of)
  redis.call('ZADD', deadlines, field(of, 'deadline'), of)
end
local function forget(of)
  for _, set in ipairs({queued, alone, leases, live, deadlines}) do redis.call('ZREM', set, of) end
  -- The sum of sizes starts anew whenever nothing is live, so that no error in it can last.
  if redis.call('ZCARD', live) == 0 then redis.call('DEL', bytes) end
end
local function finish(of, retention, tombstone, name, value, metrics)
  redis.call('HSET', record(of), 'completed_at', exact(now), 'metrics', metrics or '{}')
  if name then redis.call('HSET', record(of), name, value) end
  redis.call('HDEL', record(of), 'owner')
  redis.call('DECRBY', bytes, field(of, 'size'))
  redis.call('EXPIRE', record(of), retention)
  redis.call('SET', tag .. ':gone:' .. of, '', 'EX', retention + tombstone)
  forget(of)
  redis.call('PUBLISH', tag .. ':events', of)
end
"""
)

# model, parameters, digest, size in bytes, start within s, most live, most bytes → created_at, 'taken', 'live' or 'bytes'
CREATE = (
    _PRELUDE
    + """
if redis.call('EXISTS', record(id), tag .. ':gone:' .. id) > 0 then return 'taken' end
if redis.call('ZCARD', live) >= tonumber(ARGV[8]) then return 'live' end
local held = tonumber(redis.call('GET', bytes) or 0)
if held > 0 and held + tonumber(ARGV[6]) > tonumber(ARGV[9]) then return 'bytes' end
local at = exact(now)
redis.call('HSET', record(id), 'model', ARGV[3], 'parameters', ARGV[4], 'digest', ARGV[5], 'size', ARGV[6],
  'status', 'starting', 'created_at', at, 'deadline', exact(now + ARGV[7]))
redis.call('ZADD', live, at, id)
redis.call('INCRBY', bytes, ARGV[6])
enqueue(id, now)
return at
"""
)

# owner, lease in s, '1' to take what must run alone, problem of a deadline, retention in s, tombstone in s → {id, record} or nil
CLAIM = (
    _PRELUDE
    + """
local from = ARGV[5] == '1' and alone or queued
for _ = 1, AT_A_TIME do
  local due = redis.call('ZRANGEBYSCORE', from, '-inf', exact(now), 'LIMIT', 0, 1)
  if #due == 0 then return false end
  local of = due[1]
  local deadline = field(of, 'deadline')
  if not deadline then
    forget(of)  -- its record is gone: debris
  elseif tonumber(deadline) <= now then
    if move(of, 'aborted') then finish(of, ARGV[7], ARGV[8], 'error', ARGV[6]) else forget(of) end
  elseif not move(of, 'processing') then
    forget(of)
  else
    redis.call('ZREM', from, of)
    redis.call('ZREM', deadlines, of)
    redis.call('HSET', record(of), 'owner', ARGV[3], 'started_at', exact(now))
    redis.call('HINCRBY', record(of), 'attempts', 1)
    redis.call('ZADD', leases, exact(now + ARGV[4]), of)
    return {of, redis.call('HGETALL', record(of))}
  end
end
return false
"""
)

# owner, lease in s → 1 or 0
RENEW = (
    _PRELUDE
    + """
if not owned(ARGV[3]) then return 0 end
redis.call('ZADD', leases, exact(now + ARGV[4]), id)
return 1
"""
)

# owner, status, field, value, metrics, retention in s, tombstone in s → 1 or 0
FINISH = (
    _PRELUDE
    + """
if not owned(ARGV[3]) or not move(id, ARGV[4]) then return 0 end
finish(id, ARGV[8], ARGV[9], ARGV[5], ARGV[6], ARGV[7])
return 1
"""
)

# owner, delay in s, how many retries it counts as → 1 or 0
REQUEUE = (
    _PRELUDE
    + """
if not owned(ARGV[3]) or not move(id, 'starting') then return 0 end
redis.call('HINCRBY', record(id), 'retries', ARGV[5])
enqueue(id, now + ARGV[4])
return 1
"""
)

# retention in s, tombstone in s → 1, 0 when it has ended already, nil when it is unknown
CANCEL = (
    _PRELUDE
    + """
if redis.call('EXISTS', record(id)) == 0 then return false end
if not move(id, 'canceled') then return 0 end
finish(id, ARGV[3], ARGV[4])
return 1
"""
)

# most lapses shared, most alone, problem of a lost worker, of a deadline, retention in s, tombstone in s,
# most dead, their retention in s → {queued again}, {dead}, {aborted}, how many are due, how many of these alone
SWEEP = (
    _PRELUDE
    + """
local again, lost, late = {}, {}, {}
for _, of in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME)) do
  local counter = field(of, 'lone_lapses') and 'lone_lapses' or 'lapses'
  local count = redis.call('EXISTS', record(of)) == 1 and redis.call('HINCRBY', record(of), counter, 1)
  if count and counter == 'lone_lapses' and count >= tonumber(ARGV[4]) and move(of, 'failed') then
    finish(of, ARGV[10], ARGV[8], 'error', ARGV[5])
    redis.call('ZADD', dead, exact(now), of)
    table.insert(lost, of)
  elseif count and move(of, 'starting') then
    if counter == 'lapses' and count >= tonumber(ARGV[3]) then redis.call('HSET', record(of), 'lone_lapses', 0) end
    enqueue(of, now)
    table.insert(again, of)
  else
    forget(of)
  end
end
redis.call('ZREMRANGEBYSCORE', dead, '-inf', exact(now - ARGV[10]))
redis.call('ZREMRANGEBYRANK', dead, 0, -1 - ARGV[9])
for _, of in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME)) do
  if move(of, 'aborted') then
    finish(of, ARGV[7], ARGV[8], 'error', ARGV[6])
    table.insert(late, of)
  else
    redis.call('ZREM', deadlines, of)
  end
end
return {again, lost, late, redis.call('ZCOUNT', queued, '-inf', exact(now)), redis.call('ZCOUNT', alone, '-inf', exact(now))}
"""
)
