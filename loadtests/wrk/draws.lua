-- Asks for the targets of a file in their order, over and over; each line: target TAB entity tag.
-- TIERLINK_DRAWS names the file, TIERLINK_CONDITIONAL=1 sends the tag as If-None-Match.

local requests, order, at = {}, {}, 0

function init()
   local conditional = os.getenv("TIERLINK_CONDITIONAL") == "1"
   local known = {}
   for line in io.lines(os.getenv("TIERLINK_DRAWS")) do
      if not known[line] then
         local target, etag = line:match("^([^\t]+)\t(.*)$")
         local headers = { ["Accept"] = "application/json", ["User-Agent"] = "wrk" }
         if conditional then
            headers["If-None-Match"] = etag
         end
         requests[#requests + 1] = wrk.format("GET", target, headers)
         known[line] = #requests
      end
      order[#order + 1] = known[line]
   end
   math.randomseed(os.time())
   at = math.random(#order)
end

function request()
   at = at % #order + 1
   return requests[order[at]]
end

-- Read by loadtests/benchmarks/harness.py: everything as plain numbers, times in microseconds.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "RESULT requests=%d duration=%d p50=%d p99=%d worst=%d refused=%d failed=%d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
