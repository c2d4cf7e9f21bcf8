-- Read the timeline's last minutes, the oldest first.
--
-- Input: minutes (how many, with the current one).
-- Output: {{the minute's start in seconds since the epoch, its fields and values} …}.
-- Changes: nothing.
-- @include common
-- @include timeline
local minutes = tonumber(ARGV[3])

local read = {}
for back = minutes - 1, 0, -1 do
  local number = minute - back
  table.insert(read, {number * MINUTE_S, redis.call('HGETALL', timeline_key(number))})
end
return read
