-- Fields of a prediction's record, each false where it is absent.
local function prediction_fields(prediction_id, ...)
  return unpack(redis.call('HMGET', prediction_key(prediction_id), ...))
end
