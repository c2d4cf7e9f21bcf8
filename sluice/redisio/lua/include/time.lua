-- Redis's clock: seconds since the epoch, and microseconds.
local time = redis.call('TIME')
