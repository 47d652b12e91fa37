-- Reads a record and its tombstone in one look.
-- KEYS[1]  the value
-- KEYS[2]  the tombstone, in the same slot
-- ARGV[1]  how many bytes a value may have
-- Returns  { the value, false where there is none, or its length where that is over ARGV[1];
--            PTTL of the value (-1 no expiry, -2 no value); the tombstone's text or false }.
--          WRONGTYPE when the value's key holds another type; a tombstone's key that does counts as none.
-- Cost     O(bytes of the value).
local length = redis.pcall('STRLEN', KEYS[1])
if type(length) == 'table' then
    return length
end
local value = length
if length <= tonumber(ARGV[1]) then
    value = redis.call('GET', KEYS[1])
end
local gone = redis.pcall('GET', KEYS[2])
if type(gone) == 'table' then
    gone = false
end
return { value, redis.call('PTTL', KEYS[1]), gone }
