-- What wrk sends: messages of 64 applications in turn, each with its key, to 64 chats.
local key, files = os.getenv("ONE_KEY"), os.getenv("MESSAGES")
local keys, requests, turn = {}, {}, 0
for line in io.lines(os.getenv("KEYS")) do keys[#keys + 1] = key or line end
function init()
  for number, key in ipairs(keys) do
    for file in files:gmatch("%S+") do
      local path = string.format("/integrations/external/chats/0192f3a4-5b6c-7d8e-9f00-%012x/messages/interactive", number)
      requests[#requests + 1] = wrk.format("POST", path, {
        ["Host"] = "gateway.internal", ["Authorization"] = "Bearer " .. key,
        ["Content-Type"] = "application/json", ["Origin"] = "https://app.example.com",
        ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0)", ["Accept"] = "application/json, text/plain, */*",
      }, io.open(file, "rb"):read("*a"))
    end
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format('{"requests": %d, "micros": %d, "p50": %d, "p99": %d, "not_200": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
