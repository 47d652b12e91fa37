-- Ends tasks that a daemon knows to be finished: acked while this server was away, or done from its spool. A task that is
-- leased by another receipt by now stays; one that waits (again), or is dead, is finished: its work is done.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  milliseconds a finished id is remembered
-- ARGV[3]  each: id, receipt (2-byte length before each), how it finished (a, c or p)
-- Returns  a character for each: '+' finished now, '=' it was known to be, '-' another's lease
-- Cost     O(log N) per id, 11 commands each.
local pos, size, said = 1, #ARGV[3], {}
while pos <= size do
    local id, receipt, how
    id, receipt, how, pos = struct.unpack('>Hc0Hc0c1', ARGV[3], pos)
    local t = load(id)
    if t and t.state == 'l' and t.receipt ~= receipt then
        said[#said + 1] = '-'
    elseif not t and finished(id) then
        said[#said + 1] = '='
    else
        if t then
            forget(t)
        end
        finish(id, how, receipt, tonumber(ARGV[2]))
        said[#said + 1] = '+'
    end
end
return table.concat(said)
