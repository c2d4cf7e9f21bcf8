-- Put right what is due: lapsed leases, missed deadlines, ends of retention, batches that were
-- left.
--
-- Input: worker_lost, too_late (problems as JSON: the errors of a dead letter, and of a missed
--   deadline).
-- Output: {{ids queued again}, {dead letters whose images are not kept yet}, {ids aborted}, {their
--   digests}, how many are due, how many of those that run alone are due, how many lapses and
--   deadlines remain for the next sweep}.
-- Changes: all that it puts right, at most AT_A_TIME of each kind: Redis does nothing else
--   meanwhile.
-- @include common
-- @include due_in
-- @include read_prediction
-- @include move
-- @include note
-- @include enqueue
-- @include promote
-- @include forget
-- @include finish
-- @include batches/sweep
-- @include count_in_minute
local worker_lost, too_late = unpack(ARGV, 3)
local requeued, aborted, digests = {}, {}, {}
local new_dead = 0

-- A prediction that was silent too often while others ran beside it runs alone; one that is silent
-- there too often, fails.
local function handle_lapse(prediction_id)
  local record = read_to_finish(
    prediction_id, 'logs', 'deadline', 'lone_lapses', 'lapses', 'attempts')
  if not record.status then return forget(prediction_id, record) end
  local counter = record.lone_lapses and 'lone_lapses' or 'lapses'
  local lapses = (record[counter] or 0) + 1
  local line = 'attempt ' .. (record.attempts or 0) .. ': its worker fell silent'
  local changes = {counter, string.format('%d', lapses), 'logs', note(record.logs, line)}
  local is_dead = counter == 'lone_lapses' and lapses >= limits.max_lone_lapses
  if is_dead and finish(prediction_id, record, 'failed', limits.dead_retention_s, 'error',
      worker_lost, unpack(changes)) then
    redis.call('ZADD', dead_key, exact(now), prediction_id)
    redis.call('ZADD', unkept_key, exact(now), prediction_id)
    new_dead = new_dead + 1
    return
  end
  if counter == 'lapses' and lapses >= limits.max_shared_lapses then
    record.lone_lapses = '0'
    table.insert(changes, 'lone_lapses')
    table.insert(changes, '0')
  end
  if move(prediction_id, record, 'starting', 'queued_at', exact(now), 'owner', '',
      unpack(changes)) then
    enqueue_again(prediction_id, record, now)
    table.insert(requeued, prediction_id)
  else
    forget(prediction_id, record)
  end
end

local function count_due(set) return redis.call('ZCOUNT', set, '-inf', exact(now)) end

local function abort(prediction_id)
  local record = read_to_finish(prediction_id, 'digest')
  if not finish(prediction_id, record, 'aborted', limits.retention_s, 'error', too_late) then
    redis.call('ZREM', deadlines_key, prediction_id)
    return
  end
  table.insert(aborted, prediction_id)
  table.insert(digests, record.digest or '')
end

for _, id in ipairs(due_in(leases_key, AT_A_TIME)) do handle_lapse(id) end
for _, set in ipairs({dead_key, unkept_key}) do
  redis.call('ZREMRANGEBYSCORE', set, '-inf', exact(now - limits.dead_retention_s))
  redis.call('ZREMRANGEBYRANK', set, 0, -1 - limits.max_dead)
end
for _, id in ipairs(due_in(deadlines_key, AT_A_TIME)) do abort(id) end
for _, entry in ipairs(due_in(expiring_key, 10 * AT_A_TIME)) do
  local key_name, id = string.match(entry, '(%S+) (%S+)')
  redis.call('ZREM', expiring_key, entry)
  redis.call('ZREM', index_key(key_name), id)
end
count_in_minute('failed', new_dead)
count_in_minute('aborted', #aborted)
sweep_batches()
promote()

local waiting = redis.call('ZCARD', deadlines_key)
local due = waiting - redis.call('ZCARD', alone_key) - redis.call('ZCARD', delayed_key)
local remaining = count_due(leases_key) + count_due(deadlines_key)
local dead = redis.call('ZRANGE', unkept_key, 0, AT_A_TIME - 1)
return {requeued, dead, aborted, digests, due, count_due(alone_key), remaining}
