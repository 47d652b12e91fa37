-- Who holds a lock.
-- KEYS[1]  the lock
-- ARGV[1]  the last byte of the value to read: a stranger's may be long
-- Returns  {value, ms left (-1: no end)}, or {} where nobody does.
-- Cost     O(1).
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
    return {}
end
if kind ~= 'string' then
    return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
return {redis.call('GETRANGE', KEYS[1], 0, ARGV[1]), redis.call('PTTL', KEYS[1])}
