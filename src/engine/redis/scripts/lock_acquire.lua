-- One attempt to take a lock, for who waits in its queue and who does not. Repeating it is harmless.
-- KEYS[1]  the lock: '<owner>#<fence>', or whatever a stranger has SET NX
-- KEYS[2]  hash, lives as long as the grant: value (of the lock), token, owner, idem, fence
-- KEYS[3]  the last fence
-- KEYS[4]  zset: waiters by number of arrival
-- KEYS[5]  hash: waiters' last signs of life, ms
-- ARGV[1]  token; the one that holds the lock gets its grant again
-- ARGV[2]  owner
-- ARGV[3]  idempotency key, '' for none; owner and key of the holder get its grant again
-- ARGV[4]  milliseconds to live
-- ARGV[5]  waiter, '' for one that does not wait; not granted, it stands in the queue afterwards
-- ARGV[6]  milliseconds to remember the fence
-- Returns  {granted 0|1, fence, ms left of the holder (-1: no end), position in the queue from 0, token}
-- Cost     O(log waiters), and once that for each waiter that died.
local DEAD_MS, QUEUE_MS = 2000, 10000
local lock, grant, counter, queue, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, owner, idem, ttl, waiter = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local time = redis.call('TIME')
local us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(us / 1000)

local function leave(who)
    redis.call('ZREM', queue, who)
    redis.call('HDEL', seen, who)
end

local kind = redis.call('TYPE', lock).ok
if kind ~= 'none' and kind ~= 'string' then
    return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
local held = redis.call('GET', lock)
if held then
    local g = redis.call('HMGET', grant, 'value', 'token', 'owner', 'idem', 'fence')
    local mine = g[2] == token or (idem ~= '' and g[4] == idem and g[3] == owner)
    if g[1] == held and mine then
        if waiter ~= '' then
            leave(waiter)
        end
        return {1, tonumber(g[5]), redis.call('PTTL', lock), 0, g[2]}
    end
end

-- Only the head decides, so only there the dead are looked for. A sign of life from the future is none: the
-- clock was set back.
local head = redis.call('ZRANGE', queue, 0, 0)[1]
while head and head ~= waiter do
    local last = tonumber(redis.call('HGET', seen, head) or 0)
    if math.abs(now - last) <= DEAD_MS then
        break
    end
    leave(head)
    head = redis.call('ZRANGE', queue, 0, 0)[1]
end

if not held and (not head or head == waiter) then
    local fence = math.max(tonumber(redis.call('GET', counter) or 0) + 1, us)
    local text = string.format('%.0f', fence)
    local value = owner .. '#' .. text
    redis.call('SET', lock, value, 'PX', ttl)
    redis.call('HSET', grant, 'value', value, 'token', token, 'owner', owner, 'idem', idem, 'fence', text)
    redis.call('PEXPIRE', grant, ttl)
    redis.call('SET', counter, text, 'PX', ARGV[6])
    if waiter ~= '' then
        leave(waiter)
    end
    return {1, fence, tonumber(ttl), 0, token}
end

local position = 0
if waiter ~= '' then
    if not redis.call('ZSCORE', queue, waiter) then
        local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')
        redis.call('ZADD', queue, tonumber(last[2] or 0) + 1, waiter)
    end
    redis.call('HSET', seen, waiter, now)
    redis.call('PEXPIRE', queue, QUEUE_MS)
    redis.call('PEXPIRE', seen, QUEUE_MS)
    position = redis.call('ZRANK', queue, waiter)
end
return {0, 0, held and redis.call('PTTL', lock) or 0, position, ''}
