-- Note that a file was submitted now.
--
-- Input: ttl_s (of files).
-- Changes: when the file was last used. Nothing where the key has no such file.
-- @include common
-- @include member
local ttl_s = ARGV[4]
local used = files_used_key(key_name)

local found = member()
if found then
  redis.call('ZADD', used, now, found)
  redis.call('EXPIRE', used, ttl_s + 60)
end
