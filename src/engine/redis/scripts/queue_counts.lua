-- How many tasks are in each state.
-- KEYS     1 to 17 of queue_lib
-- ARGV[1]  time; see queue_lib
-- Returns  {ready, delayed, leased, dead, bad, items in the inbox, age of the oldest ready task (ms)}
-- Cost     O(log N), 45 commands at most. The oldest is looked for at the head of the line and among the 32 whose time to
--          live ends first: exact while all tasks live equally long and few are delayed for long.
local oldest = now
local function look(id)
    local t = load(id)
    if t and t.state == 'r' and t.added < oldest then
        oldest = t.added
        return true
    end
    return false
end
local head = call('ZRANGE', READY, 0, 0)[1]
if head then
    look(string.sub(head, 7))
    for _, id in ipairs(call('ZRANGE', EXPIRY, 0, 31)) do
        if look(id) then
            break
        end
    end
end
local inbox = redis.pcall('LLEN', INBOX)
return {call('ZCARD', READY), call('ZCARD', DELAYED), call('ZCARD', LEASED), call('ZCARD', DEAD), call('ZCARD', BAD),
    type(inbox) == 'number' and inbox or 0, now - oldest}
