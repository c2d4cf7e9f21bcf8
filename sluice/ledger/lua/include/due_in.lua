-- Members of a sorted set whose time has come: the `most` longest due.
local function due_in(set, most)
  return redis.call('ZRANGEBYSCORE', set, '-inf', exact(now), 'LIMIT', 0, most)
end
