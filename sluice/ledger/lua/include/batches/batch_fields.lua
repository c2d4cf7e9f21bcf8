-- Fields of a batch's record, each false where it is absent.
local function batch_fields(batch_id, ...)
  return unpack(redis.call('HMGET', batch_key(batch_id), ...))
end
