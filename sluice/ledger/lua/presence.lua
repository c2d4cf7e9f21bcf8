-- Note that a worker is present, and end the leases of workers that are gone.
--
-- Input: worker ('' for a keeper without one).
-- Output: {refusal, heard, {workers that are gone}, how many leases were ended}. refusal is Redis's
--   answer where the user lacks a right, else ''. heard is 1 where Redis holds the worker's
--   subscription.
-- Changes: the workers that are present; the leases of those that are gone lapse now.
--
-- A worker holds a subscription to a channel of its own. The kernel closes it at the process's end,
-- and not while the process is busy or paused. A worker is gone when it has none and has been
-- silent for some seconds: one whose connection broke has made a new one by then. Subscriptions
-- do not outlive a run of Redis, so that each run has a record of its own. A worker that has not
-- subscribed in this run keeps its leases until they lapse. A server that becomes the primary again
-- begins a run too: the replication id is new then.
-- @include common
-- @include prediction_fields
local worker = ARGV[3]

local function info(section, field)
  local answer = redis.pcall('INFO', section)
  if answer.err then return nil, answer.err end
  return string.match(answer, field .. ':(%x+)')
end
local run, refusal = info('server', 'run_id')
if not run then return {refusal, 0, {}, 0} end
local answer = redis.pcall('PUBSUB', 'NUMSUB', worker_channel(worker))
if answer.err then return {answer.err, 0, {}, 0} end
local present = present_key(run .. '-' .. (info('replication', 'master_replid') or ''))

local function is_heard(name)
  return redis.pcall('PUBSUB', 'NUMSUB', worker_channel(name))[2] > 0
end

local heard = worker ~= '' and answer[2] > 0
if heard or redis.call('ZSCORE', present, worker) then
  redis.call('ZADD', present, exact(now), worker)
  redis.call('EXPIRE', present, math.ceil(limits.lease_s) + 60)
end

local gone, is_gone = {}, {}
local silent = redis.call(
  'ZRANGEBYSCORE', present, '-inf', exact(now - limits.gone_after_s), 'LIMIT', 0, AT_A_TIME)
for _, name in ipairs(silent) do
  if not is_heard(name) then
    redis.call('ZREM', present, name)
    redis.call('ZREM', workers_key, name)
    redis.call('ZREM', troubled_key, name)
    table.insert(gone, name)
    is_gone[name] = true
  end
end

-- As many leases as predictions run now, which the workers' threads bound.
local ended = 0
for _, id in ipairs(gone[1] and redis.call('ZRANGE', leases_key, 0, -1) or {}) do
  local owner = prediction_fields(id, 'owner') or ''
  if is_gone[string.match(owner, '^(.*)/') or ''] then
    redis.call('ZADD', leases_key, exact(now), id)
    ended = ended + 1
  end
end
return {'', heard and 1 or 0, gone, ended}
