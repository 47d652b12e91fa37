-- What the scripts of the task queue share; the build puts it in front of each of them.
--
-- A task is in exactly one state, and each state has one index:
--     r ready    READY by rank            (and AGENTS, when it names an agent)
--     d delayed  DELAYED by due time      first delivery later, or a retry's backoff
--     l leased   LEASED by the lease's end (and OPS: op .. id)
--     x dead     DEAD by the time it is forgotten
-- Ready and delayed ones are also in EXPIRY, by the end of their time to live. A finished id is kept in DONE for
-- the dedupe window: 6 bytes when that ends (ms), how it finished (a acked, c cancelled, p purged), the receipt.
-- DONE_ORDER lists the same, oldest first: 6 bytes when the window ends, id. (A list, not a zset: it is the largest index
-- of a busy queue, and all windows are equally long. Of an id that finished twice the earlier item has lost its meaning.)
--
-- KEYS, the first n of this list in every script; all in one slot:
--  1 META    hash: id -> FORMAT and history; what a transition reads and writes
--  2 BODY    hash: id -> the task's JSON, written once
--  3 LEASED  4 OPS  5 DONE  6 DONE_ORDER
--  7 READY   score rank, member: arrival (6 bytes, big-endian) and id, so that ties go by arrival
--  8 AGENTS  scores 0, members: agent NUL rank (7 bytes) arrival id
--  9 EXPIRY 10 DELAYED
-- 11 ARRIVAL the last arrival's number
-- 12 WAITERS list: daemons with waiting requests      13 SEEN hash: daemon -> its last sign of life (ms)
-- 14 DEAD      15 RETURNED zset: op .. '!' by time; the same members stand in OPS, where a dequeue looks
-- 16 INBOX     17 BAD zset: time (ms, 6 bytes), arrival (6), reason, NUL, first bytes; by arrival
-- ARGV[1] of every script is the time in us, '' for this server's clock. The daemon always sends ''; tests send their
-- own. Whoever can send another time here can write the keys as well, so it opens nothing.
--
-- Costs count the commands a script calls, TIME apart.
--
-- Whatever takes something away does it first: under maxmemory Redis refuses a script's first write if that may need
-- memory, and none after it. So acks and leases work when memory is full, enqueues are refused whole.
local call = redis.call
local META, BODY, LEASED, OPS, DONE, DONE_ORDER = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local READY, AGENTS, EXPIRY, DELAYED, ARRIVAL = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local WAITERS, SEEN, DEAD, RETURNED, INBOX, BAD = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17]

-- state, failed attempts, max_attempts, priority, arrival, rank + BIAS (us), added (ms), time to live (ms), its end (ms),
-- when the state ends (ms; 0 ready), bytes of the body, agent, receipt ('' unless leased); then the history: lines
-- "<n nacked | e lease ended | q requeued> <ms> <receipt or op> <reason as a JSON string>", at most HISTORY_MAX.
local FORMAT, BIAS, HISTORY_MAX = '>c1HHBI6I7I6I6I6I6I4ss', 4503599627370496, 8
local DAEMON_DEAD_MS = 2000

local now_us = tonumber(ARGV[1])
if not now_us then
    local time = call('TIME')
    now_us = time[1] * 1000000 + time[2]
end
local now = math.floor(now_us / 1000)

local function load(id)
    local raw = call('HGET', META, id)
    if not raw then
        return nil
    end
    local t, pos = {id = id}, 1
    t.state, t.failures, t.max, t.priority, t.arrival, t.rank, t.added, t.ttl, t.ends, t.at, t.bytes, t.agent,
        t.receipt, pos = struct.unpack(FORMAT, raw)
    t.history = string.sub(raw, pos)
    return t
end

-- The task behind a member of an index; where someone has deleted it the member goes too.
local function load_from(index, id)
    local t = load(id)
    if not t then
        call('ZREM', index, id)
    end
    return t
end

local function pack_meta(t)
    return struct.pack(FORMAT, t.state, t.failures, t.max, t.priority, t.arrival, t.rank, t.added, t.ttl, t.ends, t.at,
        t.bytes, t.agent, t.receipt) .. t.history
end

local function ready_member(t)
    return struct.pack('>I6', t.arrival) .. t.id
end

local function agent_member(t)
    return t.agent .. '\0' .. struct.pack('>I7I6', t.rank, t.arrival) .. t.id
end

-- The op of a receipt: 'r.' or 'a.', then 16 characters.
local function op_of(receipt)
    return string.sub(receipt, 3, 18)
end

-- Out of its state's indexes. The caller writes META or removes it.
local function leave(t)
    if t.state == 'l' then
        call('ZREM', LEASED, t.id)
        call('ZREM', OPS, op_of(t.receipt) .. t.id)
    elseif t.state == 'x' then
        call('ZREM', DEAD, t.id)
    else
        call('ZREM', EXPIRY, t.id)
        if t.state == 'd' then
            call('ZREM', DELAYED, t.id)
        else
            call('ZREM', READY, ready_member(t))
            if t.agent ~= '' then
                call('ZREM', AGENTS, agent_member(t))
            end
        end
    end
end

-- Into a state (not leased) and its indexes, META included. at: when that state ends.
local function enter(t, state, at)
    t.state, t.at, t.receipt = state, at, ''
    if state == 'x' then
        call('ZADD', DEAD, at, t.id)
    else
        call('ZADD', EXPIRY, t.ends, t.id)
        if state == 'd' then
            call('ZADD', DELAYED, at, t.id)
        else
            call('ZADD', READY, t.rank - BIAS, ready_member(t))
            if t.agent ~= '' then
                call('ZADD', AGENTS, 0, agent_member(t))
            end
        end
    end
    call('HSET', META, t.id, pack_meta(t))
end

local function forget(t)
    leave(t)
    call('HDEL', META, t.id)
    call('HDEL', BODY, t.id)
end

local function finish(id, how, receipt, dedupe_ms)
    local ends = struct.pack('>I6', now + dedupe_ms)
    call('HSET', DONE, id, ends .. how .. receipt)
    call('RPUSH', DONE_ORDER, ends .. id)
end

-- How an id finished, and its receipt; nil where that is not known or no longer counts.
local function finished(id)
    local raw = call('HGET', DONE, id)
    if raw and struct.unpack('>I6', raw) > now then
        return string.sub(raw, 7, 7), string.sub(raw, 8)
    end
    return nil
end

local function note(t, kind, ref, reason)
    local _, lines = string.gsub(t.history, '\n', '')
    if lines >= HISTORY_MAX then
        t.history = string.sub(t.history, string.find(t.history, '\n', 1, true) + 1)
    end
    t.history = t.history .. kind .. ' ' .. string.format('%.0f', now) .. ' ' .. ref .. ' ' .. reason .. '\n'
end

-- Whether the history tells of this end of this receipt (or of this op).
local function noted(t, kind, ref)
    for line_kind, line_ref in string.gmatch(t.history, '(%a) %d+ (%S+) [^\n]*\n') do
        if line_kind == kind and line_ref == ref then
            return true
        end
    end
    return false
end

-- A leased task's attempt has failed: delayed (ready without a delay), or dead when it was the last one. delay_ms nil: base doubled with each
-- failure, spread by 25 % either way (jitter 0 to 999; arrivals spread the tasks of one call), at most cap.
local function fail(t, kind, reason, delay_ms, base, cap, jitter)
    local receipt = t.receipt
    leave(t)
    t.failures = t.failures + 1
    note(t, kind, receipt, reason)
    if t.failures >= t.max then
        enter(t, 'x', now + t.ttl)
        return
    end
    if not delay_ms then
        local spread = (jitter + t.arrival * 617) % 1000 / 1000
        delay_ms = math.floor(math.min(cap, base * 2 ^ math.min(t.failures - 1, 40) * (0.75 + spread / 2)))
    end
    enter(t, delay_ms > 0 and 'd' or 'r', delay_ms > 0 and now + delay_ms or 0)
end

-- Tells the daemon that waits and was told longest ago, on its own channel; it goes to the end of the line. Those without a
-- sign of life lose their place. False: nobody waits.
local function tell_next(count, hops)
    for _ = 1, call('LLEN', WAITERS) do
        local daemon = call('LPOP', WAITERS)
        local seen = tonumber(call('HGET', SEEN, daemon) or 0)
        if math.abs(now - seen) <= DAEMON_DEAD_MS then
            call('RPUSH', WAITERS, daemon)
            call('PUBLISH', WAITERS .. ':' .. daemon, count .. hops)
            return true
        end
        call('HDEL', SEEN, daemon)
    end
    return false
end

-- count tasks have become ready: tells as many daemons that wait.
local function wake(count)
    local left = count > 0 and call('LLEN', WAITERS) or 0
    while left > 0 and count > 0 and tell_next(count, '') do
        left, count = left - 1, count - 1
    end
end

-- Adds tasks, a list of tables; one string in return, a character for each: '+' added, else the state its id has.
local function add(tasks, ids, aging_us)
    local metas, done = call('HMGET', META, unpack(ids)), call('HMGET', DONE, unpack(ids))
    local known, said = {}, {}
    local meta, body, ready, agents, expiry, delayed = {}, {}, {}, {}, {}, {}
    local arrival = call('INCRBY', ARRIVAL, #tasks) - #tasks
    for i, t in ipairs(tasks) do
        local id, n = t.id, #meta
        local state = known[id] or (metas[i] and string.sub(metas[i], 1, 1))
        if not state and done[i] and struct.unpack('>I6', done[i]) > now then
            state = string.sub(done[i], 7, 7)
        end
        said[i] = state or '+'
        if not state then
            local is_delayed = t.delay > 0
            t.state, t.at = is_delayed and 'd' or 'r', is_delayed and now + t.delay or 0
            t.failures, t.receipt, t.history, t.bytes = 0, '', '', #t.body
            t.arrival, t.added, t.ends = arrival + i, now, now + t.ttl
            t.rank = now_us + t.delay * 1000 - t.priority * aging_us + BIAS
            known[id] = t.state
            meta[n + 1], meta[n + 2] = id, pack_meta(t)
            body[n + 1], body[n + 2] = id, t.body
            expiry[n + 1], expiry[n + 2] = t.ends, id
            if is_delayed then
                delayed[#delayed + 1] = t.at
                delayed[#delayed + 1] = id
            else
                ready[#ready + 1] = t.rank - BIAS
                ready[#ready + 1] = ready_member(t)
                if t.agent ~= '' then
                    agents[#agents + 1] = 0
                    agents[#agents + 1] = agent_member(t)
                end
            end
        end
    end
    if #meta > 0 then
        call('HSET', META, unpack(meta))
        call('HSET', BODY, unpack(body))
        call('ZADD', EXPIRY, unpack(expiry))
    end
    if #ready > 0 then
        call('ZADD', READY, unpack(ready))
    end
    if #agents > 0 then
        call('ZADD', AGENTS, unpack(agents))
    end
    if #delayed > 0 then
        call('ZADD', DELAYED, unpack(delayed))
    end
    wake(#ready / 2)
    return table.concat(said)
end
