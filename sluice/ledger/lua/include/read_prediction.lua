-- Named fields of a prediction's record, as a table; each false where it is absent.
-- One read of all that a script needs costs as much as a read of one field.
local function read_prediction(prediction_id, ...)
  local values, record = redis.call('HMGET', prediction_key(prediction_id), ...), {}
  for at, name in ipairs({...}) do record[name] = values[at] end
  return record
end
