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

local function put(kind)
    if kind == 'b' then
        local reason, first
        reason, first, pos = struct.unpack('>I4c0I4c0', items, pos)
        local arrival = call('INCR', ARRIVAL)
        call('ZADD', BAD, arrival, struct.pack('>I6I6', now, arrival) .. reason .. '\0' .. first)
        return 'b'
    end
    local t = {struct.unpack('>Hc0Hc0BI6I6HI4c0', items, pos)}
    pos = t[8]
    return add({t}, {t[1]}, tonumber(ARGV[2]))
end

while pos <= #items do
    local length, sha, kind
    length, sha, kind, pos = struct.unpack('>I6c40c1', items, pos)
    local item = call('LINDEX', INBOX, -1)
    if not item or #item ~= length then
        break
    end
    if redis.sha1hex(length > item_max and string.sub(item, 1, 4096) or item) ~= sha then
        break
    end
    call('RPOP', INBOX)
    local is_put, mark = pcall(put, kind)
    if not is_put then -- a foreign value stands in for one of the queue's keys
        call('RPUSH', INBOX, item)
        return redis.error_reply(type(mark) == 'table' and mark.err or mark) -- a string up to Redis 7.0
    end
    said[#said + 1] = mark
end
call('ZREMRANGEBYRANK', BAD, 0, -1 - tonumber(ARGV[5]))
return table.concat(said)
