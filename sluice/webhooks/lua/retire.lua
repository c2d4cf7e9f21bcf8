-- Remove the older of two secrets.
--
-- Input: key_name. KEYS[1]: the secrets of all keys.
-- Output: 1, or 0 where there is no other.
-- Changes: the secrets of the key.
local key_name = ARGV[1]

local secrets = redis.call('HGET', KEYS[1], key_name)
local newest = secrets and string.match(secrets, '^(%S+) ')
if not newest then return 0 end
redis.call('HSET', KEYS[1], key_name, newest)
return 1
