-- A daemon's place in the line of those that are told of ready tasks.
-- KEYS     1 to 13 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  daemon: what its channel is named by, WAITERS:<daemon>
-- ARGV[3]  '1' it has waiting requests (to be said at least every second), '0' it has none any more
-- ARGV[4]  not 0: instead, so many tasks of which it was told are wanted by none of its own: the next daemon is told
-- ARGV[5]  how many daemons were told of these; once that is all of them nobody else is
-- ARGV[6]  whom they name, as tell_next has it
-- Returns  1 if tasks are ready, else 0
-- Cost     O(1); O(daemons) to join, to leave or to pass on. 4 commands at most; to pass on 7, and 3 for each dead daemon.
local daemon, count, hops = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
if count > 0 then
    local ready = call('EXISTS', READY)
    if ready == 1 and hops < call('LLEN', WAITERS) then
        local stood = call('LREM', WAITERS, 0, daemon)
        tell_next(count, hops, ARGV[6])
        if stood > 0 then
            call('RPUSH', WAITERS, daemon)
        end
    end
    return ready
end
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
