-- The `key_name` of a receiver, which is `<key_name>/<SHA-1 of the origin>`.
local function key_name_of(receiver) return string.match(receiver, '^[^/]+') end
