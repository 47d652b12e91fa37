-- Gives back what an op leased, as if it had never been: ready, same rank, same attempt. An arrival of that op from now
-- on, however late, leases nothing. Repeating it is harmless.
-- KEYS     1 to 15 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  op: 16 characters
-- Returns  how many tasks became ready
-- Cost     O(log N) per task, 7 commands each.
local op, count = ARGV[2], 0
for _, member in ipairs(call('ZRANGEBYLEX', OPS, '[' .. op, '(' .. op .. '\255')) do
    local id = string.sub(member, 17)
    local t = id ~= '!' and load(id)
    if t then
        leave(t)
        enter(t, 'r', 0)
        count = count + 1
    end
end
call('ZADD', OPS, 0, op .. '!')
call('ZADD', RETURNED, now, op .. '!')
wake(count)
return count
