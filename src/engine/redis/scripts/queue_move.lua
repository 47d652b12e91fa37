-- Behind queue_lib and queue_add where tasks go from state to state.

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

-- The task behind a member of an index, which is in one of the states that it lists; else the member goes: someone has
-- deleted what it stood for.
local function load_from(index, id, states)
    local t = load(id)
    if t and string.find(states, t.state, 1, true) then
        return t
    end
    call('ZREM', index, id)
    return nil
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
