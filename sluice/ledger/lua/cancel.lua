-- Cancel a prediction that is queued or runs.
--
-- Input: prediction_id.
-- Output: 1, 0 where it has ended already, nil where it is unknown.
-- Changes: all that `include/finish.lua` changes.
-- @include common
-- @include prediction_fields
-- @include move
-- @include finish
local prediction_id = ARGV[3]

local from = prediction_fields(prediction_id, 'status')
if not from then return false end
if not move(prediction_id, 'canceled') then return 0 end
redis.call('HSET', prediction_key(prediction_id), 'canceled_from', from)
finish(prediction_id, limits.retention_s)
return 1
