-- The start of every script: the queue, its limits, the time, constants, and the names of all keys.
--
-- Input: tag (the queue's hash tag), limits (those settings that the script uses, as JSON); a
--   script's own arguments follow.
--   KEYS[1] only tells a cluster which node runs the script: all keys have the same hash tag.
local tag, limits = ARGV[1], cjson.decode(ARGV[2])
-- @include clock
-- @include constants
-- @include names
