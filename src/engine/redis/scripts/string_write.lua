-- Writes or deletes one string value under a condition, value and expiry in one step.
-- KEYS[1]  the key
-- ARGV[1]  condition: 'any', 'absent' (the key must not exist), 'equals' (it must hold ARGV[2])
-- ARGV[2]  the expected bytes for 'equals', else ''
-- ARGV[3]  milliseconds to live, '0' for none, '' to delete
-- ARGV[4]  the new value
-- Returns  1 done and something was there, 0 done and nothing was there, -1 the condition did not hold.
--          WRONGTYPE when a write would replace another type ('any' deletes whatever is there).
-- Cost     O(bytes of the value).
local key, condition, ttl = KEYS[1], ARGV[1], ARGV[3]
if ttl == '' and condition == 'any' then
    return redis.call('DEL', key)
end
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= 'string' then
    return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
local there = kind == 'string'
if condition == 'absent' and there then
    return -1
end
if condition == 'equals' and (not there or redis.call('GET', key) ~= ARGV[2]) then
    return -1
end
if ttl == '' then
    redis.call('DEL', key)
elseif ttl == '0' then
    redis.call('SET', key, ARGV[4])
else
    redis.call('SET', key, ARGV[4], 'PX', ttl)
end
return there and 1 or 0
