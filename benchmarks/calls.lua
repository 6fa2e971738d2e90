-- Sends calls to many objects. Arguments: method ("get" reads the state), number of objects, style, object type.
-- Styles: "keyed" sends a unique idempotency key with each call; "accepted" asks for 202 instead of the result;
-- "restate" and "ray" use the URLs of those systems. The method "place" of "Order" gets the id of a counter.
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
  local body = '{"by":1}'
  if method == "place" then
    body = '{"to":"c' .. (key * 7 % objects) .. '"}'
  end
  if style == "restate" then
    body = method == "place" and '"c' .. (key * 7 % objects) .. '"' or "1"
    return wrk.format("POST", "/" .. kind .. "/" .. id .. "/" .. method, headers, body)
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
  if style == "accepted" then
    headers["Prefer"] = "respond-async"
  end
  if method == "peek" then
    body = ""
  end
  return wrk.format("POST", path .. "/call/" .. method, headers, body)
end
