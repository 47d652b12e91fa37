-- Takes a task out, whatever its state; a leased one's receipt is worth nothing afterwards.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  id
-- ARGV[3]  milliseconds a finished id is remembered
-- Returns  1 (also where it was cancelled before), 0 no such task
-- Cost     O(log N), 8 commands at most.
local t = load(ARGV[2])
if not t then
    return finished(ARGV[2]) == 'c' and 1 or 0
end
forget(t)
finish(t.id, 'c', '', tonumber(ARGV[3]))
return 1
