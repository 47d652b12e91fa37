-- Starts a dead task anew: attempt 0, its time to live and its rank from now. The same op again does nothing, while the
-- task's history knows it.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  id      ARGV[3]  op: 16 characters
-- ARGV[4]  microseconds that one step of priority is worth
-- Returns  '+', '-' it is not dead, '?' no such task
-- Cost     O(log N), 8 commands, and 4 for a daemon that is woken.
local t = load(ARGV[2])
if not t then
    return '?'
end
if t.state ~= 'x' then
    return noted(t, 'q', ARGV[3]) and '+' or '-'
end
leave(t)
note(t, 'q', ARGV[3], '"requeued"')
t.failures, t.added, t.ends = 0, now, now + t.ttl
t.rank = now_us - t.priority * tonumber(ARGV[4]) + BIAS
t.arrival = call('INCR', ARRIVAL)
enter(t, 'r', 0)
wake(1, t.agent)
return '+'
