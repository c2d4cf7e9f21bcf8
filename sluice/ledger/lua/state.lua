-- Read what waits in the queue, and what was set aside, for metrics.
--
-- Output: {{priority, how many are ready, the age of the one that became ready first}, …}, how many
--   become ready later, how many must run alone, dead letters, deliveries that are due or being
--   sent, deliveries that are not settled, the age of the oldest of these, deliveries that were
--   given up, and whether Redis has lost data lately (0 or 1). Ages are text.
-- Changes: nothing.
-- Costs two commands an API key with ready predictions; keys after the first 10 * AT_A_TIME of a
--   priority are not counted.
-- @include common
local function age(set)
  local since = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]
  return since and math.max(0, now - since) or 0
end

local priorities = {}
for _, priority in ipairs(PRIORITIES) do
  local ready, oldest_s = 0, 0
  local key_names = redis.call('ZRANGE', turns_key(priority), 0, 10 * AT_A_TIME - 1)
  for _, key_name in ipairs(key_names) do
    local set = ready_key(priority, key_name)
    ready = ready + redis.call('ZCARD', set)
    oldest_s = math.max(oldest_s, age(set))
  end
  table.insert(priorities, {priority, ready, exact(oldest_s)})
end

local function count(set) return redis.call('ZCARD', set) end
return {priorities, count(delayed_key), count(alone_key), count(dead_key), count(deliveries_key),
  count(deliveries_open_key), exact(age(deliveries_open_key)), count(deliveries_dead_key),
  redis.call('EXISTS', loss_key)}
