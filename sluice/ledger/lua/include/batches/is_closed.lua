-- Whether a batch takes no more predictions: it has ended, was canceled, or is unknown.
local function is_closed(batch_id)
  local key_name, completed_at, canceled_at =
    unpack(redis.call('HMGET', batch_key(batch_id), 'key', 'completed_at', 'canceled_at'))
  return not key_name or completed_at or canceled_at
end
