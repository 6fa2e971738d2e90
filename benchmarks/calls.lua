-- Calls over many objects. Arguments: method, number of objects, "keyed" for an idempotency key of its own per call,
-- or "get" as the method for the state.
local key = 0
local method, objects, keyed

function init(arguments)
  method, objects, keyed = arguments[1], tonumber(arguments[2]), arguments[3] == "keyed"
  math.randomseed(os.time())
  run = math.random(1, 1e9)
end

function request()
  key = key + 1
  local path = "/objects/Counter/c" .. (key % objects)
  if method == "get" then
    return wrk.format("GET", path)
  end
  local headers = { ["Content-Type"] = "application/json" }
  if keyed then
    headers["Idempotency-Key"] = run .. "-" .. key
  end
  local body = '{"by":1}'
  if method == "peek" then
    body = ""
  end
  return wrk.format("POST", path .. "/call/" .. method, headers, body)
end
