-- Whether an attempt still holds the prediction's lease.
-- @include prediction_fields
local function owned(prediction_id, owner)
  local status, holder = prediction_fields(prediction_id, 'status', 'owner')
  return status == 'processing' and holder == owner
end
