-- Every script begins with this: the keys, a session's fields, and how long things live.
-- Keys: docs/backends.md. `root` is `{prefix}:`; its braces keep all keys in one slot of a cluster.
local root, id = ARGV[1], ARGV[2]
local call = redis.call
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local SLACK = 3600000 -- Redis drops what nobody swept this many milliseconds after it has expired
local DONE = 60000 -- how long a write is known to have been done, for one that is sent again

local function key(kind, name) return root .. kind .. ':' .. name end

-- The index of the id's scope: everything before its last slash, if there is one.
local function scope_key(name)
  local scope = string.match(name, '^(.*)/[^/]*$')
  return scope and key('s', scope) or root .. 's'
end

-- '-' is no label, '+x' the label x.
local function label_key(label)
  return string.sub(label, 1, 1) == '+' and key('i', string.sub(label, 2)) or nil
end

-- One text instead of many, which a client reads in a tenth of the time.
local function as_json(texts) return #texts > 0 and cjson.encode(texts) or '[]' end

local FIELDS = {'revision', 'family', 'head', 'tips', 'depth', 'label', 'ttl', 'expires', 'untrimmed'}

local function has_expired(name, expires)
  expires = tonumber(expires)
  return expires and expires <= now and call('EXISTS', key('l', name)) == 0
end

-- Return what is stored for a session beside its record; `.expired` where it is to be treated as unknown.
local function read_session(name)
  local values = call('HMGET', key('c', name), unpack(FIELDS))
  if not values[1] then return nil end
  local session = {id = name}
  for index, field in ipairs(FIELDS) do session[field] = values[index] end
  session.depth = tonumber(session.depth)
  session.ttl = tonumber(session.ttl)
  session.expires = tonumber(session.expires)
  session.expired = has_expired(name, session.expires)
  return session
end

local function read_living(name)
  local session = read_session(name)
  if session and not session.expired then return session end
end

local function give_back(token)
  if call('GET', key('l', id)) == token then call('DEL', key('l', id)) end
end
