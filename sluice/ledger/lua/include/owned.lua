-- Whether an attempt still holds the prediction's lease.
local function owned(prediction_id, owner)
  local status, holder = unpack(redis.call('HMGET', prediction_key(prediction_id), 'status', 'owner'))
  return status == 'processing' and holder == owner
end
