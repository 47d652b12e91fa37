-- Leases the tasks that come first, of all or of some agents. The same op again returns what it leased, as long as that
-- is leased; one that was returned leases nothing.
-- KEYS     1 to 9 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  op: 16 characters
-- ARGV[3]  at most so many tasks
-- ARGV[4]  milliseconds the lease lasts
-- ARGV[5]  'r', or 'a': a lease that ends finishes its task (ack: auto)
-- ARGV[6]  bytes of bodies after which no further task is taken (there is always one)
-- ARGV[7]  agents, each with a NUL behind it; '' for all
-- Returns  {now (ms), tasks passed over because their time to live is over (queue_tick removes them), then for each task:
--          id, attempt, receipt, lease's end (ms), body}
-- Cost     O(log N) per task, and O(agents x ARGV[3]) where some are named; 10 commands for however many tasks, one more
--          for each agent named.
local op, count, kind, bytes_max = ARGV[2], tonumber(ARGV[3]), ARGV[5], tonumber(ARGV[6])
local out = {now, 0}

local function show(id, attempt, receipt, at, body)
    local n = #out
    out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = id, attempt, receipt, at, body
end

local before = call('ZRANGEBYLEX', OPS, '[' .. op, '(' .. op .. '\255')
if #before > 0 then
    for _, member in ipairs(before) do
        local id = string.sub(member, 17)
        local raw = id ~= '!' and call('HGET', META, id)
        if raw then
            local _, failures, _, _, _, _, _, _, _, at, _, _, receipt = struct.unpack(FORMAT, raw)
            show(id, failures + 1, receipt, at, call('HGET', BODY, id) or '')
        end
    end
    return out
end

-- The first n of what is ready, skipping `offset`, as members of READY.
local merged
local function candidates(offset, n)
    if ARGV[7] == '' then
        return call('ZRANGE', READY, offset, offset + n - 1)
    end
    if not merged then
        merged = {}
        local agents = 0
        for agent in string.gmatch(ARGV[7], '%Z+') do
            local members = call('ZRANGEBYLEX', AGENTS, '[' .. agent .. '\0', '(' .. agent .. '\1', 'LIMIT', 0, 2 * count)
            for _, member in ipairs(members) do
                local rank, arrival, pos = struct.unpack('>I7I6', member, #agent + 2)
                merged[#merged + 1] = {rank, arrival, string.sub(member, pos - 6), member}
            end
            agents = agents + 1
        end
        if agents > 1 then
            table.sort(merged, function(a, b)
                return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
            end)
        end
    end
    local found = {}
    for i = offset + 1, math.min(offset + n, #merged) do
        found[#found + 1] = merged[i][3]
    end
    return found
end

local ids, arrivals, raws, attempts, names = {}, {}, {}, {}, {}
local orphans, lost, bytes, looked, full = {}, {}, 0, 0, false
while #ids < count and looked < 2 * count and not full do
    local members = candidates(looked, count - #ids)
    if #members == 0 then
        break
    end
    local wanted = {}
    for i, member in ipairs(members) do
        wanted[i] = string.sub(member, 7)
    end
    local metas = call('HMGET', META, unpack(wanted))
    for i, member in ipairs(members) do
        local raw = metas[i]
        looked = looked + 1
        if not raw or string.sub(raw, 7, 12) ~= string.sub(member, 1, 6) then
            orphans[#orphans + 1], lost[#lost + 1] = member, merged and merged[looked][4]
        else
            local failures = struct.unpack('>H', raw, 2)
            local ends, _, size, agent = struct.unpack('>I6I6I4s', raw, 32)
            if ends <= now then
                out[2] = out[2] + 1
            elseif bytes + size > bytes_max and #ids > 0 then
                full = true
                break
            else
                bytes = bytes + size
                ids[#ids + 1], arrivals[#arrivals + 1] = wanted[i], member
                raws[#raws + 1], attempts[#attempts + 1], names[#names + 1] = raw, failures + 1, agent
            end
        end
    end
end
-- Someone has deleted what they stood for, and perhaps the id came again.
if #orphans > 0 then
    call('ZREM', READY, unpack(orphans))
end
if #lost > 0 then
    call('ZREM', AGENTS, unpack(lost))
end
local taken = #ids
if taken == 0 then
    return out
end
if ARGV[7] == '' and taken == looked then
    call('ZREMRANGEBYRANK', READY, 0, taken - 1) -- none was passed over: they are the first
else
    call('ZREM', READY, unpack(arrivals))
end
call('ZREM', EXPIRY, unpack(ids))
-- META's value is cut where its state, the state's end and the receipt stand (FORMAT), and joined again with the new ones:
-- less work than packing it anew.
local agents, leases, ops, metas = {}, {}, {}, {}
local ends = now + tonumber(ARGV[4])
local ends_text, ends_packed = string.format('%.0f', ends), struct.pack('>I6', ends)
local receipt_head, tails = kind .. '.' .. op .. '.', {} -- Lua makes text of a number by sprintf; few attempts differ
local bodies = call('HMGET', BODY, unpack(ids))
for i = 1, taken do
    local id, raw, agent = ids[i], raws[i], names[i]
    local attempt = attempts[i]
    local tail = tails[attempt]
    if not tail then
        tail = '.' .. attempt
        tails[attempt] = tail
    end
    local receipt = receipt_head .. i .. tail
    if agent ~= '' then
        agents[#agents + 1] = agent .. '\0' .. string.sub(raw, 13, 19) .. arrivals[i]
    end
    leases[2 * i - 1], leases[2 * i] = ends_text, id
    ops[2 * i - 1], ops[2 * i] = '0', op .. id
    metas[2 * i - 1] = id
    metas[2 * i] = 'l' .. string.sub(raw, 2, 37) .. ends_packed .. string.sub(raw, 44, 48 + #agent) .. receipt ..
        string.sub(raw, 49 + #agent)
    local n = 5 * i - 2
    out[n], out[n + 1], out[n + 2], out[n + 3], out[n + 4] = id, attempt, receipt, ends, bodies[i]
end
if #agents > 0 then
    call('ZREM', AGENTS, unpack(agents))
end
call('ZADD', LEASED, unpack(leases))
call('ZADD', OPS, unpack(ops))
call('HSET', META, unpack(metas))
return out
