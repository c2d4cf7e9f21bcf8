-- A prediction's logs with one more line; the oldest bytes go where there are too many.
local function note(logs, line)
  logs = logs or ''
  if line == '' then return logs end
  return string.sub(logs .. line .. '\n', -limits.max_logs_bytes)
end
