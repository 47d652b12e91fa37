-- Behind queue_lib where tasks are added or daemons woken.

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
    -- Redis writes numbers out digit by digit at each call; tasks of one array mostly have the same ones.
    local texts = {}
    local function score(number)
        local text = texts[number]
        if not text then
            text = string.format('%.0f', number)
            texts[number] = text
        end
        return text
    end
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
            expiry[n + 1], expiry[n + 2] = score(t.ends), id
            if is_delayed then
                delayed[#delayed + 1] = score(t.at)
                delayed[#delayed + 1] = id
            else
                ready[#ready + 1] = score(t.rank - BIAS)
                ready[#ready + 1] = ready_member(t)
                if t.agent ~= '' then
                    agents[#agents + 1] = '0'
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
