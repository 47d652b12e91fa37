-- Removes dead tasks, those first that would be forgotten first.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  at most so many
-- ARGV[3]  milliseconds a finished id is remembered
-- Returns  {how many, how many are left}
-- Cost     O(log N) per task removed, 5 commands each.
local ids = call('ZRANGE', DEAD, 0, tonumber(ARGV[2]) - 1)
for _, id in ipairs(ids) do
    call('ZREM', DEAD, id)
    call('HDEL', META, id)
    call('HDEL', BODY, id)
    finish(id, 'p', '', tonumber(ARGV[3]))
end
return {#ids, call('ZCARD', DEAD)}
