-- Moves items from the inbox's end into the queue. Each is moved only while it still stands at the end; the first that
-- does not ends it. So two daemons may do the same at once, and repeating it is harmless.
-- KEYS     1 to 17 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  microseconds that one step of priority is worth
-- ARGV[3]  an item longer than this is known by its length and its first 4096 bytes
-- ARGV[4]  the items, oldest first, each: length (6 bytes), SHA-1 of what queue_inbox showed (40 hex digits), then 'b',
--          reason and first bytes (4-byte length before each), or 't' and the task as in queue_enqueue
-- ARGV[5]  at most so many bad items are kept
-- Returns  a character for each item moved: 'b' set aside, else as queue_enqueue
-- Cost     O(log N) and O(bytes) per item, 12 commands at most.
local items, item_max, pos, said = ARGV[4], tonumber(ARGV[3]), 1, {}
while pos <= #items do
    local length, sha, kind
    length, sha, kind, pos = struct.unpack('>I6c40c1', items, pos)
    local there = call('LINDEX', INBOX, -1)
    if not there or #there ~= length then
        break
    end
    if length > item_max then
        there = string.sub(there, 1, 4096)
    end
    if redis.sha1hex(there) ~= sha then
        break
    end
    call('RPOP', INBOX)
    if kind == 'b' then
        local reason, first
        reason, first, pos = struct.unpack('>I4c0I4c0', items, pos)
        local arrival = call('INCR', ARRIVAL)
        call('ZADD', BAD, arrival, struct.pack('>I6I6', now, arrival) .. reason .. '\0' .. first)
        said[#said + 1] = 'b'
    else
        local t = {struct.unpack('>Hc0Hc0BI6I6HI4c0', items, pos)}
        pos = t[8]
        said[#said + 1] = add({t}, {t[1]}, tonumber(ARGV[2]))
    end
end
call('ZREMRANGEBYRANK', BAD, 0, -1 - tonumber(ARGV[5]))
return table.concat(said)
