-- One field of a prediction's record; false where it is absent.
local function field(prediction_id, name) return redis.call('HGET', prediction_key(prediction_id), name) end
