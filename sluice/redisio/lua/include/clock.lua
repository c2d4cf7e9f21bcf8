-- The time of this call, in seconds since the epoch.
-- @include time
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

-- A time as text. Lua itself writes 14 digits at most, which would cut a time to milliseconds or
-- worse.
local function exact(seconds) return string.format('%.6f', seconds) end
