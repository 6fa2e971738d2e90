-- Sends calls to many objects. Arguments: method ("get" reads the state), number of objects, style, object type.
-- Styles: "keyed" sends a unique idempotency key with each call; "restate" and "ray" use the URLs of those systems.
local key = 0
local method, objects, style, kind

function init(arguments)
  method, objects, style, kind = arguments[1], tonumber(arguments[2]), arguments[3] or "", arguments[4] or "Counter"
  math.randomseed(os.time())
  run = math.random(1, 1e9)
end

function request()
  key = key + 1
  local id = "c" .. (key % objects)
  local headers = { ["Content-Type"] = "application/json" }
  if style == "restate" then
    return wrk.format("POST", "/Counter/" .. id .. "/" .. method, headers, "1")
  elseif style == "ray" then
    return wrk.format("POST", "/Counter/" .. id, headers, '{"by":1}')
  end
  local path = "/objects/" .. kind .. "/" .. id
  if method == "get" then
    return wrk.format("GET", path)
  end
  if style == "keyed" then
    headers["Idempotency-Key"] = run .. "-" .. key
  end
  local body = '{"by":1}'
  if method == "peek" then
    body = ""
  end
  return wrk.format("POST", path .. "/call/" .. method, headers, body)
end
