-- Behind queue_lib where tasks are added or daemons woken.

-- Tells the daemon that waits and was told longest ago, on its own channel: "<count> <hops> <agent>". It goes to the end of
-- the line. Those without a sign of life lose their place. False: nobody waits.
-- agent: whom they name; '*' nobody; '' several, or not known.
local function tell_next(count, hops, agent)
    for _ = 1, call('LLEN', WAITERS) do
        local daemon = call('LPOP', WAITERS)
        local seen = tonumber(call('HGET', SEEN, daemon) or 0)
        if math.abs(now - seen) <= DAEMON_DEAD_MS then
            call('RPUSH', WAITERS, daemon)
            call('PUBLISH', WAITERS .. ':' .. daemon, count .. ' ' .. hops .. ' ' .. agent)
            return true
        end
        call('HDEL', SEEN, daemon)
    end
    return false
end

-- count tasks have become ready: tells as many daemons that wait. agent: of all of them, '' for none; nil if they differ.
local function wake(count, agent)
    if agent == '' then
        agent = '*'
    end
    local left = count > 0 and call('LLEN', WAITERS) or 0
    while left > 0 and count > 0 and tell_next(count, 0, agent or '') do
        left, count = left - 1, count - 1
    end
end

-- Adds tasks, each {id, agent, priority, delay, time to live, max_attempts, body}; ids lists theirs; one string in return, a character for each: '+' added, else the state its id has.
-- are_new: their ids need not be looked for.
local function add(tasks, ids, aging_us, are_new)
    local metas, done, known, said = {}, {}, {}, {}
    if not are_new then
        metas, done = call('HMGET', META, unpack(ids)), call('HMGET', DONE, unpack(ids))
    end
    local meta, body, ready, agents, expiry, delayed, whose = {}, {}, {}, {}, {}, {}, nil
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
    -- META's value around arrival and size; packed anew only where a task differs from the one before.
    local same, head, middle, tail
    local arrival = call('INCRBY', ARRIVAL, #tasks) - #tasks
    for i, t in ipairs(tasks) do
        local id, agent, priority, delay, ttl, max, text = unpack(t, 1, 7)
        local n = #meta
        local state = known[id] or (metas[i] and string.sub(metas[i], 1, 1))
        if not state and done[i] and struct.unpack('>I6', done[i]) > now then
            state = string.sub(done[i], 7, 7)
        end
        said[i] = state or '+'
        if not state then
            local is_delayed, ends = delay > 0, now + ttl
            local rank = now_us + delay * 1000 - priority * aging_us
            local at, member = is_delayed and now + delay or 0, struct.pack('>I6', arrival + i) .. id
            known[id] = is_delayed and 'd' or 'r'
            if not same or same[2] ~= agent or same[3] ~= priority or same[4] ~= delay or same[5] ~= ttl or same[6] ~= max then
                same, head = t, struct.pack('>c1HHB', known[id], 0, max, priority)
                middle, tail = struct.pack('>I7I6I6I6I6', rank + BIAS, now, ttl, ends, at), agent .. '\0\0'
            end
            meta[n + 1], meta[n + 2] = id, head .. struct.pack('>I6', arrival + i) .. middle .. struct.pack('>I4', #text) .. tail
            body[n + 1], body[n + 2] = id, text
            expiry[n + 1], expiry[n + 2] = score(ends), id
            if is_delayed then
                delayed[#delayed + 1] = score(at)
                delayed[#delayed + 1] = id
            else
                if #ready == 0 then
                    whose = agent
                elseif whose ~= agent then
                    whose = nil
                end
                ready[#ready + 1] = score(rank)
                ready[#ready + 1] = member
                if agent ~= '' then
                    agents[#agents + 1] = '0'
                    agents[#agents + 1] = agent .. '\0' .. struct.pack('>I7', rank + BIAS) .. member
                end
            end
        end
    end
    -- META comes last: an index that a foreign value stands in for ends this before the ids are known.
    if #ready > 0 then
        call('ZADD', READY, unpack(ready))
    end
    if #agents > 0 then
        call('ZADD', AGENTS, unpack(agents))
    end
    if #delayed > 0 then
        call('ZADD', DELAYED, unpack(delayed))
    end
    if #meta > 0 then
        call('ZADD', EXPIRY, unpack(expiry))
        call('HSET', BODY, unpack(body))
        call('HSET', META, unpack(meta))
    end
    wake(#ready / 2, whose)
    return table.concat(said)
end
