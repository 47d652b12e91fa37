-- Gives a leased task back, its attempt failed: delayed, or dead when it was the last one. A receipt that did so before
-- (and is still in the task's history) is as good.
-- KEYS     1 to 14 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  id      ARGV[3]  receipt
-- ARGV[4]  milliseconds until it is ready again, '' for the backoff
-- ARGV[5]  reason: a JSON string
-- ARGV[6]  backoff of the first failure (ms)      ARGV[7]  longest backoff (ms)      ARGV[8]  jitter, 0 to 999
-- Returns  '+', '-' another's lease or none, '?' no such task
-- Cost     O(log N), 8 commands, and 4 for a daemon that is woken.
local id, receipt = ARGV[2], ARGV[3]
local t = load(id)
if not t then
    return finished(id) and '-' or '?'
end
if t.state ~= 'l' or t.receipt ~= receipt then
    return noted(t, 'n', receipt) and '+' or '-'
end
local delay = tonumber(ARGV[4])
fail(t, 'n', ARGV[5], delay, tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]))
if t.state == 'r' then
    wake(1, t.agent)
end
return '+'
