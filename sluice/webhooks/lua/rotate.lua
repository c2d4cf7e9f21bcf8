-- Add a secret before the one that is valid.
--
-- Input: key_name, secret. KEYS[1]: the secrets of all keys.
-- Output: 1, or 0 where there are two already.
-- Changes: the secrets of the key.
local key_name, secret = unpack(ARGV)

local secrets = redis.call('HGET', KEYS[1], key_name)
if secrets and string.find(secrets, ' ', 1, true) then return 0 end
redis.call('HSET', KEYS[1], key_name, secrets and secret .. ' ' .. secrets or secret)
return 1
