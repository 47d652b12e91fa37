-- A daemon's place in the line of those that are told of ready tasks.
-- KEYS     1 to 13 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  daemon: what its channel is named by, WAITERS:<daemon>
-- ARGV[3]  '1' it has waiting requests (to be said at least every second), '0' it has none any more
-- Returns  1 if tasks are ready, else 0
-- Cost     O(1); O(daemons) to join or leave. 4 commands at most.
local daemon = ARGV[2]
if ARGV[3] == '0' then
    if call('HDEL', SEEN, daemon) == 1 then
        call('LREM', WAITERS, 0, daemon)
    end
    return 0
end
if call('HSET', SEEN, daemon, now) == 1 then
    call('LREM', WAITERS, 0, daemon)
    call('RPUSH', WAITERS, daemon)
end
return call('EXISTS', READY)
