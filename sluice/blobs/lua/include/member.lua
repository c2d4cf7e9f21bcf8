-- The member of `file_ends` of this call's file; false where the key has no such file.
local function member()
  local owner, size = unpack(redis.call('HMGET', file_key(file_id), 'key', 'size'))
  return owner == key_name and key_name .. ' ' .. size .. ' ' .. file_id
end
