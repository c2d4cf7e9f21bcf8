"""The ledger's scripts in Lua. Each runs atomically in Redis; `move` is the only line that writes a status.

Every script takes ARGV[1] = the queue's hash tag, ARGV[2] = a prediction's id, ARGV[3] = the limits as JSON, see `RedisLedger`,
then its own arguments. KEYS[1] only tells a cluster which node to run on: all other keys have the same hash tag. A script's answer
is nil or 0 where nothing was changed.

What waits is claimed by priority, within a priority by keys in turn, and within a key by age. Of ten claims one looks at `low`
first and one at `normal`, so that a flood of the higher ones can't stop the lower.
"""

from sluice.ledger.batch_scripts import BATCH, SWEEP_BATCHES
from sluice.ledger.delivery_scripts import FILE
from sluice.prediction import TRANSITIONS

_AT_A_TIME = 100  # Redis does nothing else meanwhile; what is left over is the next sweep's


def _lua_transitions() -> str:
    rows = (
        f"{before.value} = {{{', '.join(f'{after.value} = true' for after in sorted(afters))}}}"
        for before, afters in TRANSITIONS.items()
    )
    return "{" + ", ".join(rows) + "}"


PRELUDE = (
    f"local ALLOWED = {_lua_transitions()}\nlocal AT_A_TIME = {_AT_A_TIME}\n"
    + """
local PRIORITIES = {'high', 'normal', 'low'}
local RATE_BUCKET_S = 10
local tag, id, limits = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local alone, delayed, leases, live = tag .. ':alone', tag .. ':delayed', tag .. ':leases', tag .. ':live'
local deadlines, bytes, dead = tag .. ':deadlines', tag .. ':bytes', tag .. ':dead'
local backlogs, turn, expiring, unkept = tag .. ':backlogs', tag .. ':turn', tag .. ':expiring', tag .. ':unkept'
local function record(of) return tag .. ':prediction:' .. of end
local function ready(priority, key) return tag .. ':ready:' .. priority .. ':' .. key end
local function turns(priority) return tag .. ':turns:' .. priority end
local function index(key) return tag .. ':index:' .. key end
local function ended(bucket) return tag .. ':ended:' .. string.format('%d', bucket) end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
-- Lua writes a number with 14 digits at most, which would cut a time to milliseconds.
local function exact(seconds) return string.format('%.6f', seconds) end
local function field(of, name) return redis.call('HGET', record(of), name) end
"""
    + FILE
    + BATCH
    + """
local function move(of, to)
  local is = redis.call('HMGET', record(of), 'status', 'batch')
  if not is[1] or not (ALLOWED[is[1]] or {})[to] then return false end
  redis.call('HSET', record(of), 'status', to)
  redis.call('PUBLISH', tag .. ':events', of .. ' ' .. to)
  count(is[2], is[1], to)
  return true
end
local function owned(owner)
  local held = redis.call('HMGET', record(id), 'status', 'owner')
  return held[1] == 'processing' and held[2] == owner
end
local function note(of, text)
  if text == '' then return end
  redis.call('HSET', record(of), 'logs', string.sub((field(of, 'logs') or '') .. text .. '\\n', -limits.max_logs_bytes))
end
local function join(of, score)
  local to = redis.call('HMGET', record(of), 'priority', 'key')
  if not to[1] then return end
  redis.call('ZADD', ready(to[1], to[2]), score, of)
  redis.call('ZADD', turns(to[1]), 'NX', exact(now), to[2])
end
local function leave(of)
  local from = redis.call('HMGET', record(of), 'priority', 'key')
  if not from[1] then return end
  redis.call('ZREM', ready(from[1], from[2]), of)
  if redis.call('EXISTS', ready(from[1], from[2])) == 0 then redis.call('ZREM', turns(from[1]), from[2]) end
end
local function enqueue(of, due)
  redis.call('ZREM', leases, of)
  redis.call('HDEL', record(of), 'owner')
  redis.call('ZADD', deadlines, field(of, 'deadline'), of)
  if field(of, 'lone_lapses') then
    redis.call('ZADD', alone, exact(due), of)
  elseif due > now then
    redis.call('ZADD', delayed, exact(due), of)
  else
    join(of, exact(due))
  end
end
local function promote()
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', exact(now), 'WITHSCORES', 'LIMIT', 0, AT_A_TIME)
  for at = 1, #due, 2 do
    redis.call('ZREM', delayed, due[at])
    join(due[at], due[at + 1])
  end
end
local function forget(of)
  leave(of)
  for _, set in ipairs({alone, delayed, leases, live, deadlines}) do redis.call('ZREM', set, of) end
  -- The sums start anew whenever nothing is live, so that no error in them can last.
  if redis.call('EXISTS', live) == 0 then redis.call('DEL', bytes, backlogs, turn) end
end
local function finish(of, retention_s, name, value, metrics)
  local kept = redis.call('HMGET', record(of), 'size', 'key', 'batch')
  redis.call('HSET', record(of), 'completed_at', exact(now), 'metrics', metrics or '{}')
  if name then redis.call('HSET', record(of), name, value) end
  redis.call('HDEL', record(of), 'owner')
  redis.call('DECRBY', bytes, kept[1])
  if redis.call('HINCRBY', backlogs, kept[2], -1) <= 0 then redis.call('HDEL', backlogs, kept[2]) end
  forget(of)
  redis.call('EXPIRE', record(of), retention_s)
  redis.call('SET', tag .. ':gone:' .. of, kept[2], 'EX', retention_s + limits.tombstone_s)
  if not kept[3] then
    redis.call('ZADD', expiring, exact(now + retention_s), kept[2] .. ' ' .. of)
    redis.call('EXPIRE', expiring, limits.index_ttl_s)
  end
  file(of, 'completed')
  if kept[3] then end_batch(kept[3]) end
end
"""
)

# size in bytes, s within which it must start, the key's name, the most live of that key or '', its batch or '', then the record's
# fields and values → {created_at, how many wait}, 'taken', 'closed', 'live', 'key' or 'bytes'
CREATE = (
    PRELUDE
    + """
local size, key, of_batch = tonumber(ARGV[4]), ARGV[6], ARGV[8] ~= '' and ARGV[8]
if redis.call('EXISTS', record(id), tag .. ':gone:' .. id) > 0 then return 'taken' end
if of_batch and is_closed(of_batch) then return 'closed' end
if redis.call('ZCARD', live) >= limits.max_backlog then return 'live' end
if ARGV[7] ~= '' and tonumber(redis.call('HGET', backlogs, key) or 0) >= tonumber(ARGV[7]) then return 'key' end
local held = tonumber(redis.call('GET', bytes) or 0)
if held > 0 and held + size > limits.max_bytes then return 'bytes' end
local at = exact(now)
redis.call('HSET', record(id), 'status', 'starting', 'created_at', at, 'size', size, 'key', key,
  'deadline', exact(now + ARGV[5]), unpack(ARGV, 9))
redis.call('ZADD', live, at, id)
redis.call('INCRBY', bytes, size)
redis.call('HINCRBY', backlogs, key, 1)
if of_batch then
  count(of_batch, nil, 'starting')
  redis.call('ZADD', unsettled, 'XX', exact(now + limits.batch_idle_s), of_batch)
else
  redis.call('ZADD', index(key), at, id)
  redis.call('EXPIRE', index(key), limits.index_ttl_s)
end
enqueue(id, now)
return {at, redis.call('ZCARD', deadlines)}
"""
)

# owner, lease in s, '1' to take what must run alone → {id, record} or nil
CLAIM = (
    PRELUDE
    + """
local function start(of)
  local deadline = field(of, 'deadline')
  if not deadline then
    forget(of)  -- its record is gone: debris
  elseif tonumber(deadline) > now then  -- else the next sweep aborts it
    if not move(of, 'processing') then forget(of) return nil end
    redis.call('ZREM', deadlines, of)
    redis.call('HSET', record(of), 'owner', ARGV[4], 'started_at', exact(now))
    if redis.call('HINCRBY', record(of), 'attempts', 1) == 1 then file(of, 'start') end
    redis.call('ZADD', leases, exact(now + ARGV[5]), of)
    return {of, redis.call('HGETALL', record(of))}
  end
end

if ARGV[6] == '1' then
  for _ = 1, AT_A_TIME do
    local due = redis.call('ZRANGEBYSCORE', alone, '-inf', exact(now), 'LIMIT', 0, 1)[1]
    if not due then return false end
    redis.call('ZREM', alone, due)
    local found = start(due)
    if found then return found end
  end
  return false
end

promote()
if redis.call('EXISTS', live) == 0 then return false end
local count = redis.call('INCR', turn) % 10
local order = count == 0 and {'low', 'normal', 'high'} or count == 5 and {'normal', 'high', 'low'} or PRIORITIES
for _, priority in ipairs(order) do
  for _ = 1, AT_A_TIME do
    local key = redis.call('ZRANGE', turns(priority), 0, 0)[1]
    if not key then break end
    local due = redis.call('ZPOPMIN', ready(priority, key))[1]
    if redis.call('EXISTS', ready(priority, key)) == 1 then
      redis.call('ZADD', turns(priority), exact(now), key)
    else
      redis.call('ZREM', turns(priority), key)
    end
    local found = due and start(due)
    if found then return found end
  end
end
return false
"""
)

# owner, lease in s → 1 or 0
RENEW = (
    PRELUDE
    + """
if not owned(ARGV[4]) then return 0 end
redis.call('ZADD', leases, exact(now + ARGV[5]), id)
return 1
"""
)

# owner, status, field, value, metrics, logs → 1 or 0
FINISH = (
    PRELUDE
    + """
if not owned(ARGV[4]) or not move(id, ARGV[5]) then return 0 end
note(id, ARGV[9])
finish(id, limits.retention_s, ARGV[6], ARGV[7], ARGV[8])
-- Only where others wait: an idle queue's rate is its clients', and says nothing of how fast it could be.
if redis.call('EXISTS', deadlines) == 1 then
  local bucket = ended(math.floor(now / RATE_BUCKET_S))
  redis.call('INCR', bucket)
  redis.call('EXPIRE', bucket, 12 * RATE_BUCKET_S)
end
return 1
"""
)

# owner, delay in s, how many retries it counts as, logs → 1 or 0
REQUEUE = (
    PRELUDE
    + """
if not owned(ARGV[4]) or not move(id, 'starting') then return 0 end
redis.call('HINCRBY', record(id), 'retries', ARGV[6])
note(id, ARGV[7])
enqueue(id, now + ARGV[5])
return 1
"""
)

# → 1, 0 when it has ended already, nil when it is unknown
CANCEL = (
    PRELUDE
    + """
if redis.call('EXISTS', record(id)) == 0 then return false end
local from = field(id, 'status')
if not move(id, 'canceled') then return 0 end
redis.call('HSET', record(id), 'canceled_from', from)
finish(id, limits.retention_s)
return 1
"""
)

# problem of a lost worker, of a deadline → {queued again}, {dead whose images are not kept yet}, {aborted}, {their digests}, how
# many are due, how many of these alone, how many lapses and deadlines are left over
SWEEP = (
    PRELUDE
    + SWEEP_BATCHES
    + """
local again, late, digests = {}, {}, {}
for _, of in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME)) do
  local counter = field(of, 'lone_lapses') and 'lone_lapses' or 'lapses'
  local count = redis.call('EXISTS', record(of)) == 1 and redis.call('HINCRBY', record(of), counter, 1)
  if count then note(of, 'attempt ' .. (field(of, 'attempts') or 0) .. ': its worker fell silent') end
  if count and counter == 'lone_lapses' and count >= limits.max_lone_lapses and move(of, 'failed') then
    finish(of, limits.dead_retention_s, 'error', ARGV[4])
    redis.call('ZADD', dead, exact(now), of)
    redis.call('ZADD', unkept, exact(now), of)
  elseif count and move(of, 'starting') then
    if counter == 'lapses' and count >= limits.max_shared_lapses then redis.call('HSET', record(of), 'lone_lapses', 0) end
    enqueue(of, now)
    table.insert(again, of)
  else
    forget(of)
  end
end
for _, set in ipairs({dead, unkept}) do
  redis.call('ZREMRANGEBYSCORE', set, '-inf', exact(now - limits.dead_retention_s))
  redis.call('ZREMRANGEBYRANK', set, 0, -1 - limits.max_dead)
end
for _, of in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME)) do
  if move(of, 'aborted') then
    finish(of, limits.retention_s, 'error', ARGV[5])
    table.insert(late, of)
    table.insert(digests, field(of, 'digest') or '')
  else
    redis.call('ZREM', deadlines, of)
  end
end
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', expiring, '-inf', exact(now), 'LIMIT', 0, 10 * AT_A_TIME)) do
  redis.call('ZREM', expiring, entry)
  local key, of = string.match(entry, '(%S+) (%S+)')
  redis.call('ZREM', index(key), of)
end
sweep_batches()
promote()
local lone = redis.call('ZCOUNT', alone, '-inf', exact(now))
local due = redis.call('ZCARD', deadlines) - redis.call('ZCARD', alone) - redis.call('ZCARD', delayed)
local left = redis.call('ZCOUNT', leases, '-inf', exact(now)) + redis.call('ZCOUNT', deadlines, '-inf', exact(now))
return {again, redis.call('ZRANGE', unkept, 0, AT_A_TIME - 1), late, digests, due, lone, left}
"""
)

# → how many are claimed before this one, as far as is known now; nil unless it waits for nothing but its turn
AHEAD = (
    PRELUDE
    + """
local at = redis.call('HMGET', record(id), 'priority', 'key')
local rank = at[1] and redis.call('ZRANK', ready(at[1], at[2]), id)
if not rank then return false end
local mine = tonumber(redis.call('ZSCORE', turns(at[1]), at[2]) or 0)
local ahead = rank
for _, priority in ipairs(PRIORITIES) do
  local keys = redis.call('ZRANGE', turns(priority), 0, AT_A_TIME, 'WITHSCORES')
  for entry = 1, #keys, 2 do
    local waiting = redis.call('ZCARD', ready(priority, keys[entry]))
    if priority ~= at[1] then
      ahead = ahead + waiting
    elseif keys[entry] ~= at[2] then
      ahead = ahead + math.min(waiting, tonumber(keys[entry + 1]) < mine and rank + 1 or rank)
    end
  end
  if priority == at[1] then break end
end
return ahead
"""
)

# worker, s for which it counts → nothing
BEAT = (
    PRELUDE
    + """
local workers = tag .. ':workers'
redis.call('ZADD', workers, exact(now + ARGV[5]), ARGV[4])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', exact(now))
redis.call('EXPIRE', workers, math.ceil(ARGV[5]))
"""
)

# → how many are live, running, workers; s that the oldest has lived; how many end in a second, at best in the last minute; how full
LOAD = (
    PRELUDE
    + """
local bucket = math.floor(now / RATE_BUCKET_S)
local best = 0
local since = now - bucket * RATE_BUCKET_S
if since >= 2 then best = tonumber(redis.call('GET', ended(bucket)) or 0) / since end
for back = 1, 6 do best = math.max(best, tonumber(redis.call('GET', ended(bucket - back)) or 0) / RATE_BUCKET_S) end
local oldest = redis.call('ZRANGE', live, 0, 0, 'WITHSCORES')[2]
local held = tonumber(redis.call('GET', bytes) or 0)
local full = math.max(redis.call('ZCARD', live) / limits.max_backlog, held / limits.max_bytes)
return {redis.call('ZCARD', live), redis.call('ZCARD', leases), redis.call('ZCOUNT', tag .. ':workers', exact(now), '+inf'),
  exact(oldest and now - oldest or 0), exact(best), exact(full)}
"""
)
