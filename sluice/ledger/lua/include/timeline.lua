-- The timeline: a hash for each of the last minutes. Each minute expires after two hours.
local MINUTE_S, TIMELINE_S = 60, 7200
local minute = math.floor(now / MINUTE_S)
