-- Claim the prediction whose turn it is: `starting` becomes `processing`, under a lease.
--
-- Input: owner (new for every claim), lease_s, alone ('1': one of those that must run alone).
-- Output: {id, record}, or nil where nothing is due. Of two values of a field in the record, the
--   later one counts.
-- Changes: the record and the queue; files the delivery of the start.
--
-- The turn goes by priority, within a priority by keys in turn, within a key by age. One of ten
-- claims looks at `low` first and one at `normal`: a flood of a higher priority can't stop a lower
-- one.
-- @include common
-- @include due_in
-- @include move
-- @include forget
-- @include promote
-- @include deliveries/file
local owner, lease_s, alone = unpack(ARGV, 3)

local function start(prediction_id)
  local fields, record = redis.call('HGETALL', prediction_key(prediction_id)), {}
  for at = 1, #fields, 2 do record[fields[at]] = fields[at + 1] end
  if not record.deadline then
    forget(prediction_id, record) -- its record is gone
  elseif tonumber(record.deadline) > now then -- else the next sweep aborts it
    local attempts = string.format('%d', (record.attempts or 0) + 1)
    local changes = {'owner', owner, 'started_at', exact(now), 'attempts', attempts}
    if not move(prediction_id, record, 'processing', unpack(changes)) then
      forget(prediction_id, record)
      return nil
    end
    redis.call('ZREM', deadlines_key, prediction_id)
    redis.call('ZADD', leases_key, exact(now + lease_s), prediction_id)
    if attempts == '1' and record.webhook then
      file_delivery('prediction', prediction_id, 'start')
    end
    -- The record as it is now: of two values of a field, the later one counts.
    for _, part in ipairs({'status', 'processing', unpack(changes)}) do
      table.insert(fields, part)
    end
    return {prediction_id, fields}
  end
end

local function claim_alone()
  for _ = 1, AT_A_TIME do
    local due = due_in(alone_key, 1)[1]
    if not due then return false end
    redis.call('ZREM', alone_key, due)
    local claimed = start(due)
    if claimed then return claimed end
  end
  return false
end

-- The first of the key whose turn it is; its turn is over then.
local function next_ready(priority)
  local key_name = redis.call('ZRANGE', turns_key(priority), 0, 0)[1]
  if not key_name then return nil end
  local prediction_id = redis.call('ZPOPMIN', ready_key(priority, key_name))[1]
  if redis.call('EXISTS', ready_key(priority, key_name)) == 1 then
    redis.call('ZADD', turns_key(priority), exact(now), key_name)
  else
    redis.call('ZREM', turns_key(priority), key_name)
  end
  return key_name, prediction_id
end

local function claim_shared()
  promote()
  if redis.call('EXISTS', live_key) == 0 then return false end
  local tenth = redis.call('INCRBY', turn_key, 1) % 10
  local order = PRIORITIES
  if tenth == 0 then order = {'low', 'normal', 'high'} end
  if tenth == 5 then order = {'normal', 'high', 'low'} end
  for _, priority in ipairs(order) do
    for _ = 1, AT_A_TIME do
      local key_name, prediction_id = next_ready(priority)
      if not key_name then break end
      local claimed = prediction_id and start(prediction_id)
      if claimed then return claimed end
    end
  end
  return false
end

if alone == '1' then return claim_alone() end
return claim_shared()
