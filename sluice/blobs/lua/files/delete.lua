-- Remove a file's record.
--
-- Output: 1, or 0 where the key has no such file.
-- Changes: the file's record and the sums.
-- @include common
-- @include forget
-- @include member
local found = member()
if not found then return 0 end
forget(found)
return 1
