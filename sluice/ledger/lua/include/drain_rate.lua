-- How many predictions end a second is counted in buckets of so many seconds.
local RATE_BUCKET_S = 10
