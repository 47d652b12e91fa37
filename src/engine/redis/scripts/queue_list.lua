-- A page of one state's tasks, in the order of its index.
-- KEYS     1 to 17 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  state: r d l x, or b for bad items
-- ARGV[3]  at most so many      ARGV[4]  bytes after which it ends (there is always one)
-- ARGV[5]  score and ARGV[6] member behind which it begins; '' from the start
-- Returns  {score and member of the last one if more follow, else '' '', then for each: id, META's value, BODY's value;
--          of a bad item: '', its member, ''}
-- Cost     O(log N), O(1) per task; O(log^2 N) where the member has gone from its place.
local key = ({r = READY, d = DELAYED, l = LEASED, x = DEAD, b = BAD})[ARGV[2]]
local limit, bytes_max, score, last = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]

-- Lua compares strings by the server's locale; the index compares bytes.
local function is_before(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then
            return x < y
        end
    end
    return #a < #b
end

local from = 0
if score ~= '' then
    local there = call('ZSCORE', key, last)
    if last == '' then
        from = call('ZCOUNT', key, '-inf', score) -- bad items: each has a score of its own
    elseif there and tonumber(there) == tonumber(score) then
        from = call('ZRANK', key, last) + 1
    else
        local low, high = call('ZCOUNT', key, '-inf', '(' .. score), call('ZCOUNT', key, '-inf', score)
        while low < high do
            local middle = math.floor((low + high) / 2)
            if is_before(last, call('ZRANGE', key, middle, middle)[1]) then
                high = middle
            else
                low = middle + 1
            end
        end
        from = low
    end
end
local out, bytes = {'', ''}, 0
local found = call('ZRANGE', key, from, from + limit, 'WITHSCORES')
for i = 1, #found, 2 do
    if i > 2 * limit or bytes >= bytes_max then
        out[1], out[2] = found[i - 1], found[i - 2]
        break
    end
    local member, n = found[i], #out
    if ARGV[2] == 'b' then
        out[n + 1], out[n + 2], out[n + 3] = '', member, ''
    else
        local id = ARGV[2] == 'r' and string.sub(member, 7) or member
        out[n + 1], out[n + 2], out[n + 3] = id, call('HGET', META, id) or '', call('HGET', BODY, id) or '{}'
    end
    bytes = bytes + #out[n + 2] + #out[n + 3]
end
return out
