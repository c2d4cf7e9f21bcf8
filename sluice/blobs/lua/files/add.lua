-- Put a file on record. To make room, the key's files that were submitted go, the longest unused
-- first.
--
-- Input: size, ttl_s, max_files, max_bytes (of the key), max_total (bytes of all keys), file (JSON,
--   kept as it is).
-- Output: {{ids of files that went}, created_at, ''}; where there is no room, {{ids}, '', s until
--   the next one expires}.
-- Changes: the file's record and the sums.
-- @include common
-- @include forget
local size, ttl_s, max_files, max_bytes, max_total, file = unpack(ARGV, 4)
local files, used = files_key(key_name), files_used_key(key_name)

local function is_full()
  local of_key, of_all = unpack(redis.call('HMGET', file_bytes_key, key_name, '*'))
  return redis.call('ZCARD', files) >= tonumber(max_files)
    or (of_key or 0) + size > tonumber(max_bytes) or (of_all or 0) + size > tonumber(max_total)
end

local expired = redis.call('ZRANGEBYSCORE', file_ends_key, '-inf', now, 'LIMIT', 0, 1000)
for _, member in ipairs(expired) do forget(member) end
local removed = {}
while is_full() do
  local longest_unused = redis.call('ZRANGE', used, 0, 0)[1]
  if not longest_unused then
    local next_end = redis.call('ZRANGE', file_ends_key, 0, 0, 'WITHSCORES')[2]
    return {removed, '', tostring((next_end or now) - now)}
  end
  table.insert(removed, string.match(longest_unused, '%S+$'))
  forget(longest_unused)
end

redis.call('HSET', file_key(file_id), 'key', key_name, 'size', size, 'file', file,
  'at', exact(now), 'ttl_s', ttl_s)
redis.call('EXPIRE', file_key(file_id), ttl_s)
redis.call('ZADD', files, now, file_id)
redis.call('ZADD', file_ends_key, now + ttl_s, key_name .. ' ' .. size .. ' ' .. file_id)
redis.call('HINCRBY', file_bytes_key, key_name, size)
redis.call('HINCRBY', file_bytes_key, '*', size)
for _, name in ipairs({files, file_ends_key, file_bytes_key, used}) do
  redis.call('EXPIRE', name, ttl_s + 60)
end
return {removed, exact(now), ''}
