-- Whether an attempt still holds the prediction's lease. The record has `status` and `owner`.
local function owned(record, owner)
  return record.status == 'processing' and record.owner == owner
end
