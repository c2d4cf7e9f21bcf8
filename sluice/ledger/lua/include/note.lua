-- Add a line to a prediction's logs; the oldest bytes go where there are too many.
-- @include prediction_fields
local function note(prediction_id, line)
  if line == '' then return end
  local logs = (prediction_fields(prediction_id, 'logs') or '') .. line .. '\n'
  logs = string.sub(logs, -limits.max_logs_bytes)
  redis.call('HSET', prediction_key(prediction_id), 'logs', logs)
end
