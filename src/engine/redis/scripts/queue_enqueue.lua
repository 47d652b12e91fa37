-- Adds tasks. Repeating it is harmless: by then their ids are known.
-- KEYS     1 to 13 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  microseconds that one step of priority is worth
-- ARGV[3]  the tasks, each: id, agent (2-byte length before each), priority (1 byte), delay and time to live (ms, 6 bytes
--          each), max_attempts (2), body (4-byte length before it); big-endian
-- ARGV[4]  'new': the daemon made all their ids just now, so that nobody can have added them; else ''
-- Returns  a character for each task: '+' added, or the state its id has: r d l x, a c p (see queue_lib).
-- Cost     O(log N) per task, 10 commands at most whatever their number, and 4 for each daemon that is woken.
local tasks, ids, pos, size = {}, {}, 1, #ARGV[3]
while pos <= size do
    local t, n = {struct.unpack('>Hc0Hc0BI6I6HI4c0', ARGV[3], pos)}, #ids + 1
    ids[n], tasks[n], pos = t[1], t, t[8]
end
return add(tasks, ids, tonumber(ARGV[2]), ARGV[4] == 'new')
