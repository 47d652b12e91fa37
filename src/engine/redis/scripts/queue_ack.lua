-- Finishes leased tasks. A receipt that finished its task before is as good as one that does.
-- KEYS     1 to 6 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  milliseconds a finished id is remembered
-- ARGV[3]  ids and receipts, a 2-byte length before each
-- Returns  a character for each: '+' finished (also before, by this receipt), '-' another's lease or none, '?' no such task
-- Cost     O(log leases) per task; 7 commands whatever their number, one more for each that is not alive.
local ids, receipts, pos, size, count, finishing = {}, {}, 1, #ARGV[3], 0, 0
while pos <= size do
    count = count + 1
    ids[count], receipts[count], pos = struct.unpack('>Hc0Hc0', ARGV[3], pos)
end
local LEASED_BYTE = string.byte('l')
local gone, ops, done, order, said = {}, {}, {}, {}, {}
local ends = struct.pack('>I6', now + tonumber(ARGV[2]))
local metas, seen, others = call('HMGET', META, unpack(ids)), {}, {}
for i, id in ipairs(ids) do
    local receipt = receipts[i]
    if seen[id] then
        said[i] = seen[id] == receipt and '+' or '-'
    elseif metas[i] then
        local _, holder = struct.unpack('>ss', metas[i], 48)
        if string.byte(metas[i]) == LEASED_BYTE and holder == receipt then
            said[i], seen[id] = '+', receipt
            finishing = finishing + 1
            gone[finishing], ops[finishing], order[finishing] = id, op_of(receipt) .. id, ends .. id
            done[2 * finishing - 1], done[2 * finishing] = id, ends .. 'a' .. receipt
        else
            said[i] = '-'
        end
    else
        said[i] = '?'
        others[#others + 1] = i
    end
end
if finishing > 0 then
    call('HDEL', META, unpack(gone))
    call('HDEL', BODY, unpack(gone))
    call('ZREM', LEASED, unpack(gone))
    call('ZREM', OPS, unpack(ops))
    call('HSET', DONE, unpack(done))
    call('RPUSH', DONE_ORDER, unpack(order))
end
for _, i in ipairs(others) do
    local how, receipt = finished(ids[i])
    if how then
        said[i] = how == 'a' and receipt == receipts[i] and '+' or '-'
    end
end
return table.concat(said)
