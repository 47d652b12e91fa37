-- Shows what stands at the inbox's end, oldest first, for the daemon to read.
-- KEYS     1 to 16 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  at most so many items
-- ARGV[3]  bytes of items, too long ones whole, after which it stops (there is always one)
-- ARGV[4]  an item longer than this is shown as its first 4096 bytes
-- Returns  length, item, and so on
-- Cost     O(bytes of the items).
local found, bytes, limit, item_max = {}, 0, tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 1, tonumber(ARGV[2]) do
    local item = call('LINDEX', INBOX, -i)
    if not item or bytes >= limit then
        break
    end
    found[#found + 1] = #item
    found[#found + 1] = #item > item_max and string.sub(item, 1, 4096) or item
    bytes = bytes + #item
end
return found
