-- Lets the holder keep its lock for longer.
-- KEYS[1]  the lock      KEYS[2]  its grant      KEYS[3]  the last fence (see lock_acquire.lua)
-- ARGV[1]  token
-- ARGV[2]  milliseconds to live from now
-- ARGV[3]  milliseconds to remember the fence
-- Returns  {1, fence, ms left}, or {0, 0, 0} where the token does not hold the lock.
-- Cost     O(1).
local lock, grant, counter = KEYS[1], KEYS[2], KEYS[3]
if redis.call('TYPE', lock).ok ~= 'string' then
    return {0, 0, 0}
end
local g = redis.call('HMGET', grant, 'value', 'token', 'fence')
if g[2] ~= ARGV[1] or g[1] ~= redis.call('GET', lock) then
    return {0, 0, 0}
end
redis.call('PEXPIRE', lock, ARGV[2])
redis.call('PEXPIRE', grant, ARGV[2])
redis.call('SET', counter, g[3], 'PX', ARGV[3])
return {1, tonumber(g[3]), tonumber(ARGV[2])}
