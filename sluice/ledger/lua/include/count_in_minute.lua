-- Add to a count of the timeline's current minute.
-- @include timeline
local function count_in_minute(field, number)
  if number == 0 then return end
  redis.call('HINCRBY', timeline_key(minute), field, number)
  redis.call('EXPIRE', timeline_key(minute), TIMELINE_S)
end
