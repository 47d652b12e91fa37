-- Writes or deletes a record if it is still what was read, value, expiry and tombstone in one step.
-- KEYS[1]  the value
-- KEYS[2]  the tombstone, in the same slot
-- ARGV[1]  condition: 'absent' (there must be no value), 'equals' (it must be ARGV[2])
-- ARGV[2]  the expected bytes for 'equals', else ''
-- ARGV[3]  milliseconds to live, '0' for no expiry, '' to delete
-- ARGV[4]  the new value
-- ARGV[5]  the tombstone that a deletion leaves, also where nothing was there; a write removes it
-- ARGV[6]  milliseconds until the tombstone goes
-- ARGV[7]  optional: how many bytes a value may have
-- Returns  1 done. The condition did not hold: -1, or with ARGV[7] what record_read returns, so that who lost
--          a race tries again a round trip ahead of who begins. WRONGTYPE when the value's key holds another type.
-- Cost     O(bytes of the value).
local current = redis.pcall('GET', KEYS[1])
if type(current) == 'table' then
    return current
end
local expected = ARGV[1] == 'equals' and ARGV[2]
if current ~= expected then
    if not ARGV[7] then
        return -1
    end
    local gone = redis.pcall('GET', KEYS[2])
    if type(gone) == 'table' then
        gone = false
    end
    if current and #current > tonumber(ARGV[7]) then
        current = #current
    end
    return { current, redis.call('PTTL', KEYS[1]), gone }
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
