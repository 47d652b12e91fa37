-- What time does to the queue, a bounded step of it: ends leases, makes delayed tasks ready, drops what is past its time
-- to live, forgets the dead, finished ids past the dedupe window, returned ops and bad items.
-- KEYS     1 to 17 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  at most so many of each kind
-- ARGV[3]  backoff of the first failure (ms)      ARGV[4]  longest backoff (ms)      ARGV[5]  jitter, 0 to 999
-- ARGV[6]  milliseconds a finished id is remembered
-- ARGV[7]  milliseconds a returned op is remembered      ARGV[8]  milliseconds a bad item is kept
-- Returns  {1 if more is due, leases ended, of these now dead, of these finished (ack: auto), made ready, expired, dead ones
--          forgotten, finished ids forgotten, items in the inbox, when the next lease ends or delayed task is due (ms, 0 none)}
-- Cost     10 commands when nothing is due; O(log N) per task, 9 commands each.
local limit, base, cap, jitter = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local more = 0

local function due(key, before)
    local ids = call('ZRANGEBYSCORE', key, '-inf', before, 'LIMIT', 0, limit)
    if #ids == limit then
        more = 1
    end
    return ids
end

local ended, died, auto = due(LEASED, now), 0, 0
for _, id in ipairs(ended) do
    local t = load_from(LEASED, id, 'l')
    if t and string.sub(t.receipt, 1, 1) == 'a' then
        forget(t)
        finish(id, 'a', t.receipt, tonumber(ARGV[6]))
        auto = auto + 1
    elseif t then
        fail(t, 'e', '"lease ended"', nil, base, cap, jitter)
        if t.state == 'x' then
            died = died + 1
        end
    end
end

local expired = due(EXPIRY, now)
for _, id in ipairs(expired) do
    local t = load_from(EXPIRY, id, 'rd')
    if t then
        forget(t)
    end
end

local promoted = due(DELAYED, now)
for _, id in ipairs(promoted) do
    local t = load_from(DELAYED, id, 'd')
    if t then
        leave(t)
        enter(t, 'r', 0)
    end
end
wake(#promoted)

local dead = due(DEAD, now)
for _, id in ipairs(dead) do
    local t = load_from(DEAD, id, 'x')
    if t then
        forget(t)
    end
end

-- Finished ids past the window. One that finished again since is told by DONE's own, later end.
local order, gone, forgotten = call('LRANGE', DONE_ORDER, 0, limit - 1), {}, 0
while order[forgotten + 1] and struct.unpack('>I6', order[forgotten + 1]) <= now do
    forgotten = forgotten + 1
    gone[forgotten] = string.sub(order[forgotten], 7)
end
if forgotten > 0 then
    call('LTRIM', DONE_ORDER, forgotten, -1)
    for i, raw in ipairs(call('HMGET', DONE, unpack(gone))) do
        if raw and struct.unpack('>I6', raw) <= now then
            call('HDEL', DONE, gone[i])
        end
    end
end
if forgotten == limit then
    more = 1
end

local returned = due(RETURNED, now - tonumber(ARGV[7]))
if #returned > 0 then
    call('ZREM', RETURNED, unpack(returned))
    call('ZREM', OPS, unpack(returned))
end
for _, member in ipairs(call('ZRANGE', BAD, 0, limit - 1)) do
    if struct.unpack('>I6', member) > now - tonumber(ARGV[8]) then
        break
    end
    call('ZREM', BAD, member)
end

local inbox = redis.pcall('LLEN', INBOX)
local lease, delay = call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2], call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2]
local next_due = math.min(tonumber(lease) or math.huge, tonumber(delay) or math.huge)
return {more, #ended, died, auto, #promoted, #expired, #dead, forgotten, type(inbox) == 'number' and inbox or 0,
    next_due < math.huge and next_due or 0}
