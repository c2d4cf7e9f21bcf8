-- The start of every script on files: the queue, the file, the API key's name, the time, and the
-- names of all keys.
--
-- Input: tag (the queue's hash tag), file_id, key_name; a script's own arguments follow. KEYS[1]
--   only tells a cluster which node runs the script: all keys have the same hash tag.
local tag, file_id, key_name = unpack(ARGV, 1, 3)
-- @include clock
-- @include names
