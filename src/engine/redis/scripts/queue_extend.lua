-- Sets when a lease ends. Repeating it is harmless.
-- KEYS     1 to 5 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  id      ARGV[3]  receipt      ARGV[4]  milliseconds from now
-- Returns  the lease's end (ms), -1 another's lease or none, -2 no such task
-- Cost     O(log leases), 4 commands.
local t = load(ARGV[2])
if not t then
    return finished(ARGV[2]) and -1 or -2
end
if t.state ~= 'l' or t.receipt ~= ARGV[3] then
    return -1
end
t.at = now + tonumber(ARGV[4])
call('ZREM', LEASED, t.id)
call('ZADD', LEASED, t.at, t.id)
call('HSET', META, t.id, pack_meta(t))
return t.at
