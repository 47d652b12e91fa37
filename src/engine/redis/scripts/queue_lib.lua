-- What the scripts of the task queue share, in front of each of them: what is where, and the time. queue_add.lua
-- (waking, adding) and queue_move.lua (from state to state) follow where a script needs them: each function defined costs
-- every call of its script a part of a microsecond.
--
-- A task is in exactly one state, and each state has one index:
--     r ready    READY by rank            (and AGENTS, when it names an agent)
--     d delayed  DELAYED by due time      first delivery later, or a retry's backoff
--     l leased   LEASED by the lease's end (and OPS: op .. id)
--     x dead     DEAD by the time it is forgotten
-- Ready and delayed ones are also in EXPIRY, by the end of their time to live. A finished id is kept in DONE for
-- the dedupe window: 6 bytes when that ends (ms), how it finished (a acked, c cancelled, p purged), the receipt.
-- DONE_ORDER lists the same, oldest first: 6 bytes when the window ends, id. (A list, not a zset: it is the largest index
-- of a busy queue, and all windows are equally long. Of an id that finished twice the earlier item has lost its meaning.)
--
-- KEYS, the first n of this list in every script; all in one slot:
--  1 META    hash: id -> FORMAT and history; what a transition reads and writes
--  2 BODY    hash: id -> the task's JSON, written once
--  3 LEASED  4 OPS  5 DONE  6 DONE_ORDER
--  7 READY   score rank, member: arrival (6 bytes, big-endian) and id, so that ties go by arrival
--  8 AGENTS  scores 0, members: agent NUL rank (7 bytes) arrival id
--  9 EXPIRY 10 DELAYED
-- 11 ARRIVAL the last arrival's number
-- 12 WAITERS list: daemons with waiting requests      13 SEEN hash: daemon -> its last sign of life (ms)
-- 14 DEAD      15 RETURNED zset: op .. '!' by time; the same members stand in OPS, where a dequeue looks
-- 16 INBOX     17 BAD zset: time (ms, 6 bytes), arrival (6), reason, NUL, first bytes; by arrival
-- ARGV[1] of every script is the time in us, '' for this server's clock. The daemon always sends ''; tests send their
-- own. Whoever can send another time here can write the keys as well, so it opens nothing.
--
-- Costs count the commands a script calls, TIME apart.
--
-- Whatever takes something away does it first: under maxmemory Redis refuses a script's first write if that may need
-- memory, and none after it. So acks and leases work when memory is full, enqueues are refused whole.
local call = redis.call
local META, BODY, LEASED, OPS, DONE, DONE_ORDER = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local READY, AGENTS, EXPIRY, DELAYED, ARRIVAL = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local WAITERS, SEEN, DEAD, RETURNED, INBOX, BAD = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16], KEYS[17]

-- state, failed attempts, max_attempts, priority, arrival, rank + BIAS (us), added (ms), time to live (ms), its end (ms),
-- when the state ends (ms; 0 ready), bytes of the body, agent, receipt ('' unless leased); then the history: lines
-- "<n nacked | e lease ended | q requeued> <ms> <receipt or op> <reason as a JSON string>", at most HISTORY_MAX.
-- Where most calls need little of it they cut it out: failed attempts begin at byte 2, the end of the time to live at 32, the agent at 48.
local FORMAT, BIAS, HISTORY_MAX = '>c1HHBI6I7I6I6I6I6I4ss', 4503599627370496, 8
local DAEMON_DEAD_MS = 2000

local now_us = tonumber(ARGV[1])
if not now_us then
    local time = call('TIME')
    now_us = time[1] * 1000000 + time[2]
end
local now = math.floor(now_us / 1000)

-- The op of a receipt: 'r.' or 'a.', then 16 characters.
local function op_of(receipt)
    return string.sub(receipt, 3, 18)
end

-- How an id finished, and its receipt; nil where that is not known or no longer counts.
local function finished(id)
    local raw = call('HGET', DONE, id)
    if raw and struct.unpack('>I6', raw) > now then
        return string.sub(raw, 7, 7), string.sub(raw, 8)
    end
    return nil
end
