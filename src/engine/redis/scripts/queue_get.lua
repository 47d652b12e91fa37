-- One task as it is.
-- KEYS     1 to 2 of queue_lib
-- ARGV[1]  time; see queue_lib
-- ARGV[2]  id
-- Returns  {META's value, BODY's value}, or {} where there is none.
-- Cost     O(1), 2 commands.
local raw = call('HGET', META, ARGV[2])
return raw and {raw, call('HGET', BODY, ARGV[2]) or '{}'} or {}
