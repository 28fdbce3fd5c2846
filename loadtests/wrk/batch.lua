-- POSTs batches of TIERLINK_BATCH identifiers each, of the file TIERLINK_DRAWS (one a line), to
-- /v1/resolve: the file in its order, over and over.

local requests, at = {}, 0

function init()
   local size, lines = tonumber(os.getenv("TIERLINK_BATCH")), {}
   for line in io.lines(os.getenv("TIERLINK_DRAWS")) do
      lines[#lines + 1] = '"' .. line .. '"'
      if #lines == size then
         requests[#requests + 1] = wrk.format("POST", "/v1/resolve",
            { ["Content-Type"] = "application/json" },
            '{"identifiers":[' .. table.concat(lines, ",") .. "]}")
         lines = {}
      end
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

-- Read by loadtests/benchmarks/harness.py, as that of draws.lua.
function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "RESULT requests=%d duration=%d p50=%d p99=%d worst=%d refused=%d failed=%d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
