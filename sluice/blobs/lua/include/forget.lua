-- Remove a file's record, and what it holds of the bounds. `member` is its member of `file_ends`.
local function forget(member)
  local owner, size, id = string.match(member, '^(%S+) (%d+) (%S+)$')
  redis.call('ZREM', files_used_key(owner), member)
  if redis.call('ZREM', file_ends_key, member) == 0 then return end
  redis.call('ZREM', files_key(owner), id)
  -- A plain minus makes -0 of 0, which is no integer to Redis.
  redis.call('HINCRBY', file_bytes_key, owner, 0 - size)
  redis.call('HINCRBY', file_bytes_key, '*', 0 - size)
  redis.call('DEL', file_key(id))
end
