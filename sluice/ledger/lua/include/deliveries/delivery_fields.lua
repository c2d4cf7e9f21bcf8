-- Fields of a delivery's record, each false where it is absent.
local function delivery_fields(delivery_id, ...)
  return unpack(redis.call('HMGET', delivery_key(delivery_id), ...))
end
