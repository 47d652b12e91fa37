-- Writes or deletes a record if it is still what was read, value, expiry and tombstone in one step.
-- KEYS[1]  the value
-- KEYS[2]  the tombstone, in the same slot
-- ARGV[1]  condition: 'absent' (there must be no value), 'equals' (it must be ARGV[2])
-- ARGV[2]  the expected bytes for 'equals', else ''
-- ARGV[3]  milliseconds to live, '0' for no expiry, '' to delete
-- ARGV[4]  the new value
-- ARGV[5]  the tombstone that a deletion leaves, also where nothing was there; a write removes it
-- ARGV[6]  milliseconds until the tombstone goes
-- Returns  1 done, -1 the condition did not hold. WRONGTYPE when the value's key holds another type.
-- Cost     O(bytes of the value).
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'table' then
    return current
end
if ARGV[1] == 'absent' then
    if current then
        return -1
    end
elseif current ~= ARGV[2] then
    return -1
end
if ARGV[3] == '' then
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6])
    return 1
end
-- The write first: where it is refused (OOM), nothing has changed.
if ARGV[3] == '0' then
    redis.call('SET', KEYS[1], ARGV[4])
else
    redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2])
return 1
