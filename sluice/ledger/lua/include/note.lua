-- Add a line to a prediction's logs; the oldest bytes go where there are too many.
-- @include field
local function note(prediction_id, line)
  if line == '' then return end
  local logs = (field(prediction_id, 'logs') or '') .. line .. '\n'
  redis.call('HSET', prediction_key(prediction_id), 'logs', string.sub(logs, -limits.max_logs_bytes))
end
