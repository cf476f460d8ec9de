-- How a write ends: what is stored of a session beside its messages, and what retention drops.

-- Return the session of a scope that was used least recently, and its position; never the one just written, and
-- none that is held. None is before `start`.
local function least_used(scope, start)
  while true do
    local oldest = call('ZRANGE', scope, start, start + 49)
    for offset, name in ipairs(oldest) do
      if name ~= id and call('EXISTS', key('l', name)) == 0 then return name, start + offset - 1 end
    end
    if #oldest < 50 then return nil end
    start = start + 50
  end
end

-- Drop the sessions that are too many, of the scope that has most of them. Those that have expired go first, so while
-- some of them are left, no other is dropped.
local function evict(limit)
  local dropped, budget, position, starts = 0, AT_ONCE, 0, {}
  if call('ZCOUNT', root .. 'x', '-inf', now) > 0 then return end
  while dropped < 100 and call('ZCARD', root .. 'i') > limit do
    local scope = call('ZREVRANGE', root .. 'q', position, position)[1]
    if not scope then return end
    local victim, start = least_used(scope, starts[scope] or 0)
    if victim then
      local session = read_session(victim) or read_dropped(victim)
      if session then budget = drop(session, budget) else forget(victim, '-') end
      dropped, starts[scope] = dropped + 1, start
    else
      position = position + 1 -- and so for those before: they have none to give
    end
  end
end

-- Store a session, and return it.
local function put(session, record)
  call('HSET', key('c', session.id), 'revision', session.revision, 'record', record, 'family', session.family,
    'head', session.head, 'depth', session.depth, 'tips', session.tips, 'label', session.label,
    'ttl', session.ttl or '', 'expires', session.ttl and now + session.ttl or '')
  return session
end

local function finish(session, updated, max_sessions)
  touch(session, updated)
  sweep()
  if max_sessions then evict(max_sessions) end
end

-- Keep the newest `limit` messages of a session in whole runs, unless somebody shares the others. Return how many
-- it is to have before this is tried again.
local function trim(family, head, untrimmed, limit)
  local family_key = key('f', family)
  local newest = read_entry(family, head)
  local first = tonumber(call('HGET', family_key, 'o:' .. newest.line) or 0)
  local stored, step = newest.depth + 1 - first, math.floor(limit / 8)
  if stored <= limit + step then return 0 end
  if stored < untrimmed then return untrimmed end
  if tonumber(call('HGET', family_key, 't:' .. newest.line) or 0) == 1 then
    local found, cut = newest, newest.depth - limit + 1
    while found and found.depth >= cut do
      if found.depth == cut then
        cut = found.start
        if found.depth == cut then break end
      end
      found = read_entry(family, found.parent)
    end
    if found and cut > first then
      call('HSET', family_key, 'o:' .. newest.line, cut)
      let_go(family, found.parent, AT_ONCE)
      drop_annotations_before(cut)
      return 0
    end
  end
  return stored + step + 1
end
