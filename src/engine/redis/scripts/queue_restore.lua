-- Takes over tasks that a daemon accepted while this server was away, as they are: rank, attempts, history and what is
-- left of their times. Repeating it is harmless: by then their ids are known.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  the tasks, each: id, agent (2-byte length before each), state (r, d or x), failed attempts, max_attempts (2 bytes
--          each), priority (1), rank + BIAS (7), added, time to live, its end, when the state ends (ms, 6 each), history,
--          body (4-byte length before each); big-endian
-- Returns  a character for each task: '+' added, or the state its id has: r d l x, a c p (see queue_lib).
-- Cost     O(log N) per task, 9 commands each, and 2 to 4 for each daemon that is woken.
local pos, size, said, ready = 1, #ARGV[2], {}, 0
while pos <= size do
    local t, state, at, body = {}, nil, nil, nil
    t.id, t.agent, state, t.failures, t.max, t.priority, t.rank, t.added, t.ttl, t.ends, at, t.history, body, pos =
        struct.unpack('>Hc0Hc0c1HHBI7I6I6I6I6I4c0I4c0', ARGV[2], pos)
    local known = load(t.id)
    local how = known and known.state or finished(t.id)
    said[#said + 1] = how or '+'
    if not how then
        if state == 'd' and at <= now then
            state, at = 'r', 0
        end
        t.bytes = #body
        t.arrival = call('INCR', ARRIVAL)
        call('HSET', BODY, t.id, body)
        enter(t, state, at)
        if state == 'r' then
            ready = ready + 1
        end
    end
end
wake(ready)
return table.concat(said)
