-- Finishes tasks that were done while Redis could not be told: leased from here, the lease perhaps over by now, or worked
-- off by a daemon itself. Repeating it is harmless.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  milliseconds a finished id is remembered
-- ARGV[3]  ids and receipts, a 2-byte length before each; a receipt of a daemon's own (l., b.) or '': worked off by that
--          daemon, whether or not it is here; 'c': cancelled there
-- Returns  a character for each: '+' finished (also before), '-' another receipt holds it or it ended otherwise, '?' no such
--          task
-- Cost     O(log N) per task, 9 commands each, and 1.
call('ZREM', LEASED, '') -- takes nothing, but first: notes are learnt when memory is full
local pos, size, said = 1, #ARGV[3], {}
while pos <= size do
    local id, receipt, mark
    id, receipt, pos = struct.unpack('>Hc0Hc0', ARGV[3], pos)
    local t, as = load(id), receipt == 'c' and 'c' or 'a'
    local theirs = receipt == '' or as == 'c' or string.find(receipt, '^[lb]%.')
    local kept = as == 'c' and '' or receipt
    if t then
        local mine
        if t.state == 'l' then
            mine = t.receipt == receipt
        else
            mine = theirs or noted(t, 'e', receipt)
        end
        if mine then
            forget(t)
            finish(id, as, kept, tonumber(ARGV[2]))
        end
        mark = mine and '+' or '-'
    else
        local how, by = finished(id)
        if how then
            mark = how == as and (theirs or by == receipt) and '+' or '-'
        elseif theirs then
            finish(id, as, kept, tonumber(ARGV[2]))
            mark = '+'
        else
            mark = '?'
        end
    end
    said[#said + 1] = mark
end
return table.concat(said)
