-- Whether a batch takes no more predictions: it has ended, was canceled, or is unknown.
-- @include batches/batch_fields
local function is_closed(batch_id)
  local key_name, completed_at, canceled_at =
    batch_fields(batch_id, 'key', 'completed_at', 'canceled_at')
  return not key_name or completed_at or canceled_at
end
