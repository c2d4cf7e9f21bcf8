-- Prolong the lease of an attempt.
--
-- Input: prediction_id, owner, lease_s (from now on).
-- Output: 1, or 0 where the lease is no longer the owner's.
-- Changes: the leases.
-- @include common
-- @include read_prediction
-- @include owned
local prediction_id, owner, lease_s = unpack(ARGV, 3)

if not owned(read_prediction(prediction_id, 'status', 'owner'), owner) then return 0 end
redis.call('ZADD', leases_key, exact(now + lease_s), prediction_id)
return 1
