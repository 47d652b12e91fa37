-- Finishes tasks that were done while Redis could not be told: leased from here, the lease perhaps over by now, or worked
-- off by a daemon itself. Repeating it is harmless.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  milliseconds a finished id is remembered
-- ARGV[3]  ids and receipts, a 2-byte length before each; receipt '': worked off by a daemon, whether or not it is here
-- Returns  a character for each: '+' finished (also before), '-' another receipt holds it or it ended otherwise, '?' no such
--          task
-- Cost     O(log N) per task, 9 commands each.
local pos, size, said = 1, #ARGV[3], {}
while pos <= size do
    local id, receipt, mark
    id, receipt, pos = struct.unpack('>Hc0Hc0', ARGV[3], pos)
    local t = load(id)
    if t then
        local mine
        if t.state == 'l' then
            mine = t.receipt == receipt
        else
            mine = receipt == '' or noted(t, 'e', receipt)
        end
        if mine then
            forget(t)
            finish(id, 'a', receipt, tonumber(ARGV[2]))
        end
        mark = mine and '+' or '-'
    else
        local how, by = finished(id)
        if how then
            mark = how == 'a' and (receipt == '' or by == receipt) and '+' or '-'
        elseif receipt == '' then
            finish(id, 'a', '', tonumber(ARGV[2]))
            mark = '+'
        else
            mark = '?'
        end
    end
    said[#said + 1] = mark
end
return table.concat(said)
