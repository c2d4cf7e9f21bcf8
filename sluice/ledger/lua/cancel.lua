-- Cancel a prediction that is queued or runs.
--
-- Input: prediction_id.
-- Output: 1, 0 where it has ended already, nil where it is unknown.
-- Changes: all that `include/finish.lua` changes.
-- @include common
-- @include finish
local prediction_id = ARGV[3]

local record = read_to_finish(prediction_id)
if not record.status then return false end
local ended = finish(
  prediction_id, record, 'canceled', limits.retention_s, 'canceled_from', record.status)
return ended and 1 or 0
