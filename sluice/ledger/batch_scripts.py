"""The batches' part of the ledger's scripts, in Lua. `BATCH` is what every script contains; the others follow the whole prelude.

A batch's record counts its predictions by status, in fields of these names, in the step that changes a status. `sealed` says that
no more predictions are to come; a batch that is sealed and has nothing live has ended.
"""

# Before `move`. It costs nothing where a prediction is in no batch.
BATCH = """
local unsettled = tag .. ':batches'
local function batch(of) return tag .. ':batch:' .. of end
local function count(of, from, to)
  if not of or redis.call('EXISTS', batch(of)) == 0 then return end
  if from then redis.call('HINCRBY', batch(of), from, -1) end
  redis.call('HINCRBY', batch(of), to, 1)
end
local function is_closed(of)
  local held = redis.call('HMGET', batch(of), 'key', 'completed_at', 'canceled_at')
  return not held[1] or held[2] or held[3]
end
local function end_batch(of)
  local held = redis.call('HMGET', batch(of), 'sealed', 'completed_at', 'starting', 'processing', 'canceled_at', 'key')
  if not held[1] or held[2] or tonumber(held[3] or 0) + tonumber(held[4] or 0) > 0 then return end
  redis.call('HSET', batch(of), 'completed_at', exact(now))
  redis.call('ZREM', unsettled, of)
  redis.call('EXPIRE', batch(of), limits.retention_s)
  redis.call('SET', tag .. ':gone:batch:' .. of, held[6], 'EX', limits.retention_s + limits.tombstone_s)
  file(of, 'completed', 'batch')
  redis.call('PUBLISH', tag .. ':events', of .. ' ' .. (held[5] and 'canceled' or 'succeeded'))
end
"""

# After `finish`. Cancels what is live of the next hundred, the last first, since the first are the next to be claimed.
# → whether nothing is left, then id, digest, id, digest …
_CANCEL_SOME = """
local function cancel_some(of)
  local held = redis.call('HMGET', batch(of), 'total', 'cancel_before', 'completed_at')
  local before = tonumber(held[2] or held[1])
  local first = math.max(0, before - AT_A_TIME)
  local found = {held[3] and 1 or 0}
  if held[3] then return found end
  for index = before - 1, first, -1 do
    local item = of .. '-' .. string.format('%d', index)
    local is = redis.call('HMGET', record(item), 'status', 'batch', 'digest')
    if is[2] == of and move(item, 'canceled') then
      redis.call('HSET', record(item), 'canceled_from', is[1])
      finish(item, limits.retention_s)
      table.insert(found, item)
      table.insert(found, is[3])
    end
  end
  redis.call('HSET', batch(of), 'cancel_before', string.format('%d', first))
  if first == 0 then
    end_batch(of)  -- it may have had nothing live
    found[1] = 1
  end
  return found
end
"""

# digest, then the record's fields and values → created_at, 'known', 'reused' or 'gone'
OPEN = """
local held = redis.call('HGET', batch(id), 'digest')
if not held and redis.call('EXISTS', tag .. ':gone:batch:' .. id) == 1 then return 'gone' end
if held and held ~= ARGV[4] then return 'reused' end
local at = exact(now)
if not held then
  redis.call('HSET', batch(id), 'digest', ARGV[4], 'created_at', at, unpack(ARGV, 5))
elseif is_closed(id) then
  return 'known'
end
redis.call('HDEL', batch(id), 'sealed')
redis.call('ZADD', unsettled, exact(now + limits.batch_idle_s), id)
return held and 'known' or at
"""

# index, error as JSON, index, error … → 1, or nil when it is unknown
SEAL = """
if redis.call('EXISTS', batch(id)) == 0 then return false end
local errors = {}
for at = 4, #ARGV, 2 do
  -- Another call may have brought it in meanwhile, or this one, without hearing of it.
  if field(id .. '-' .. ARGV[at], 'batch') ~= id then table.insert(errors, ARGV[at + 1]) end
end
redis.call('HSET', batch(id), 'sealed', 1, 'errors', '[' .. table.concat(errors, ',') .. ']')
if not is_closed(id) then redis.call('ZREM', unsettled, id) end
end_batch(id)
return 1
"""

# → as `cancel_some`; 0 when it has ended already, nil when it is unknown
CANCEL = (
    _CANCEL_SOME
    + """
local held = redis.call('HMGET', batch(id), 'total', 'completed_at', 'canceled_at')
if not held[1] then return false end
if held[2] and ARGV[4] == '1' then return 0 end
if not held[3] then
  redis.call('HSET', batch(id), 'canceled_at', exact(now), 'sealed', 1)
  redis.call('ZADD', unsettled, exact(now), id)
end
return cancel_some(id)
"""
)

# For the sweep: what an api process that died left of its batches.
SWEEP_BATCHES = (
    _CANCEL_SOME
    + """
local function sweep_batches()
  for _, of in ipairs(redis.call('ZRANGEBYSCORE', unsettled, '-inf', exact(now), 'LIMIT', 0, AT_A_TIME / 10)) do
    local held = redis.call('HMGET', batch(of), 'canceled_at', 'starting')
    if held[1] then
      cancel_some(of)
    else
      redis.call('ZREM', unsettled, of)
      if held[2] then
        redis.call('HSET', batch(of), 'sealed', 1)
        end_batch(of)
      else
        redis.call('DEL', batch(of))  -- nothing was accepted, so nothing was answered
      end
    end
  end
end
"""
)
