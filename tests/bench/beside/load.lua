-- For wrk: prints what came of a load as one line of JSON.
--   wrk ... -s load.lua URL -- [routes=COUNT] [think_ms=MEAN]
-- routes: each request asks for the next of so many paths. think_ms: each connection waits so long before each request, at random with
-- this mean, so that requests arrive as if many clients sent them at a given rate.

function init(args)
  local settings = {}
  for _, word in ipairs(args) do
    local key, value = word:match("^(.-)=(.*)$")
    settings[key] = tonumber(value)
  end
  if settings.routes then
    local requests, next = {}, 0
    for index = 0, settings.routes - 1 do
      requests[index] = wrk.format("GET", string.format("/r%05d", index))
    end
    function request()
      -- A step without a common divisor with 10 or 10,000: every route comes, and not in the order in which it was told.
      next = (next + 7919) % settings.routes
      return requests[next]
    end
  end
  if settings.think_ms then
    math.randomseed(1)
    function delay()
      return math.floor(-settings.think_ms * math.log(1 - math.random()) + 0.5)
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"seconds":%.6f,"p50_us":%d,"p99_us":%d,"bad_statuses":%d,"broken":%d,"timeouts":%d}\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
