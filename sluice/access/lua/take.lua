-- Count one submission against a rate: the generic cell rate algorithm, in the form of a leaky
-- bucket.
--
-- Input: per_s (the rate, in thousandths of a submission a second), burst. KEYS[1]: the rate of one
--   API key.
-- Output: 0, or the microseconds until the next submission is allowed; then this one is not
--   counted.
-- Changes: the level and its time. The level counts billionths of a submission: whole numbers, so
--   nothing is rounded.
-- @include time
local per_s, burst, ONE = tonumber(ARGV[1]), tonumber(ARGV[2]), 1000000000
local now_us = time[1] * 1000000 + time[2]

local last_level, last_us = unpack(redis.call('HMGET', KEYS[1], 'level', 'at'))
last_us = tonumber(last_us or now_us)
local level = math.max(0, tonumber(last_level or 0) - math.max(0, now_us - last_us) * per_s)
local over = level + ONE - burst * ONE
-- A refusal writes nothing, unless the clock was set back: the level would not fall until the old
-- time comes again.
if over > 0 and now_us >= last_us then return math.ceil(over / per_s) end
if over <= 0 then level = level + ONE end
redis.call('HSET', KEYS[1], 'level', level, 'at', now_us) -- Redis writes an argument with 17 digits
-- A minute more than needed: neither rounding nor a step of the clock lets a submission in early.
redis.call('EXPIRE', KEYS[1], math.ceil(level / per_s / 1000000) + 60)
return math.max(0, math.ceil(over / per_s))
