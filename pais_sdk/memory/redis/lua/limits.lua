-- What retention drops.

-- Drop the sessions that are too many: of the scope that has most of them, those used least recently; never the one
-- just written, and none that is held.
local function evict(limit)
  local excess, budget, position = call('ZCARD', root .. 'i') - limit, AT_ONCE, 0
  local dropped = 0
  while excess > 0 and dropped < 100 do
    local scope = call('ZREVRANGE', root .. 'q', position, position)[1]
    if not scope then return end
    local victim, start = nil, 0
    while not victim do
      local oldest = call('ZRANGE', scope, start, start + 49)
      if #oldest == 0 then break end
      for _, name in ipairs(oldest) do
        if name ~= id and call('EXISTS', key('l', name)) == 0 then victim = name break end
      end
      start = start + 50
    end
    if victim then
      local session = read_session(victim)
      if session then budget = drop(session, budget) else forget(victim, '-') end
      excess, dropped, position = excess - 1, dropped + 1, 0
    else
      position = position + 1
    end
  end
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
