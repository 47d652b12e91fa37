-- wrk.lua: the requests of a file (as bench/client.c reads it), in order and round again, built beforehand so
-- that wrk stays cheaper than the servers. Prints one line of name=value at the end.
-- Usage: wrk -t1 … -s wrk.lua http://127.0.0.1:PORT -- FILE

local requests, count, at = {}, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  while true do
    local len = file:read("*n")
    if not len then break end
    file:read(1) -- the newline
    count = count + 1
    requests[count] = file:read(len)
  end
  file:close()
  assert(count > 0, "no requests in " .. args[1])
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary)
  local e = summary.errors
  io.write(string.format("\nrequests=%d us=%d bytes=%d errors=%d\n", summary.requests, summary.duration,
    summary.bytes, e.connect + e.read + e.write + e.status + e.timeout))
end
