"""The ledger's scripts in Lua. Each runs atomically in Redis; `move` is the only line that writes a status.

Every script takes ARGV[1] = the queue's hash tag and ARGV[2] = a prediction's id, then its own arguments. KEYS[1] only tells a
cluster which node to run on: all other keys have the same hash tag. A script's answer is nil or 0 where nothing was changed.
"""

from sluice.prediction import TRANSITIONS


def _lua_transitions() -> str:
    rows = (
        f"{before.value} = {{{', '.join(f'{after.value} = true' for after in sorted(afters))}}}"
        for before, afters in TRANSITIONS.items()
    )
    return "{" + ", ".join(rows) + "}"


_PRELUDE = (
    f"local ALLOWED = {_lua_transitions()}\n"
    + """
local tag, id = ARGV[1], ARGV[2]
local queued, leases, live = tag .. ':queued', tag .. ':leases', tag .. ':live'
local function record(of) return tag .. ':prediction:' .. of end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- Lua writes a number with 14 digits at most, which would cut a time to milliseconds.
local function exact(seconds) return string.format('%.6f', seconds) end

local function move(of, to)
  local from = redis.call('HGET', record(of), 'status')
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
  redis.call('ZADD', queued, exact(due), of)
end
local function finish(of, field, value, metrics, retention)
  redis.call('HSET', record(of), field, value, 'metrics', metrics, 'completed_at', exact(now))
  redis.call('HDEL', record(of), 'owner')
  redis.call('EXPIRE', record(of), retention)
  redis.call('ZREM', leases, of)
  redis.call('ZREM', live, of)
  redis.call('PUBLISH', tag .. ':events', of)
end
"""
)

# model, parameters → created_at, or nil when the id is taken
CREATE = (
    _PRELUDE
    + """
if redis.call('EXISTS', record(id)) == 1 then return false end
local at = exact(now)
redis.call('HSET', record(id), 'model', ARGV[3], 'parameters', ARGV[4], 'status', 'starting', 'created_at', at)
redis.call('ZADD', live, at, id)
redis.call('ZADD', queued, at, id)
return at
"""
)

# owner, lease in s → {id, record}, or nil when nothing is due
CLAIM = (
    _PRELUDE
    + """
local function take()
  local due = redis.call('ZRANGEBYSCORE', queued, '-inf', exact(now), 'LIMIT', 0, 1)
  if #due == 0 then return nil end
  redis.call('ZREM', queued, due[1])
  return due[1]
end
local next_id = take()
-- An entry whose record is gone or has ended is debris: drop it and look at the next.
while next_id and not move(next_id, 'processing') do
  redis.call('ZREM', live, next_id)
  next_id = take()
end
if not next_id then return false end
redis.call('HSET', record(next_id), 'owner', ARGV[3], 'started_at', exact(now))
redis.call('HINCRBY', record(next_id), 'attempts', 1)
redis.call('ZADD', leases, exact(now + ARGV[4]), next_id)
return {next_id, redis.call('HGETALL', record(next_id))}
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

# owner, status, field, value, metrics, retention in s → 1 or 0
FINISH = (
    _PRELUDE
    + """
if not owned(ARGV[3]) or not move(id, ARGV[4]) then return 0 end
finish(id, ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return 1
"""
)

# owner, delay in s → 1 or 0
REQUEUE = (
    _PRELUDE
    + """
if not owned(ARGV[3]) or not move(id, 'starting') then return 0 end
enqueue(id, now + ARGV[4])
return 1
"""
)

# most lapses, problem, retention in s → {ids queued again, ids failed, how many are due}; at most 100 lapsed leases a call
SWEEP = (
    _PRELUDE
    + """
local again, failed = {}, {}
for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', exact(now), 'LIMIT', 0, 100)) do
  local lapses = redis.call('EXISTS', record(lapsed)) == 1 and redis.call('HINCRBY', record(lapsed), 'lapses', 1)
  if lapses and lapses >= tonumber(ARGV[3]) and move(lapsed, 'failed') then
    finish(lapsed, 'error', ARGV[4], '{}', ARGV[5])
    table.insert(failed, lapsed)
  elseif lapses and move(lapsed, 'starting') then
    enqueue(lapsed, now)
    table.insert(again, lapsed)
  else
    redis.call('ZREM', leases, lapsed)
    redis.call('ZREM', live, lapsed)
  end
end
return {again, failed, redis.call('ZCOUNT', queued, '-inf', exact(now))}
"""
)
