-- Gives a lock back, and takes a waiter out of its queue. Repeating it is harmless.
-- KEYS[1]  the lock      KEYS[2]  its grant      KEYS[3]  queue      KEYS[4]  signs of life (see lock_acquire.lua)
-- ARGV[1]  token, '' where only a waiter leaves
-- ARGV[2]  waiter, '' for none
-- Returns  1 released, 0 nobody holds the lock, -1 another holds it.
-- Cost     O(log waiters).
local lock, grant = KEYS[1], KEYS[2]
if ARGV[2] ~= '' then
    redis.call('ZREM', KEYS[3], ARGV[2])
    redis.call('HDEL', KEYS[4], ARGV[2])
end
local kind = redis.call('TYPE', lock).ok
if kind == 'none' then
    return 0
end
if kind ~= 'string' then
    return -1
end
local g = redis.call('HMGET', grant, 'value', 'token')
if not g[2] or g[2] ~= ARGV[1] or g[1] ~= redis.call('GET', lock) then
    return -1
end
redis.call('DEL', lock, grant)
return 1
