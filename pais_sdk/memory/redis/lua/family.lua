-- The messages of a session and of all its forks: each stored once, and dropped when nobody holds it any more.
-- An entry is held by each entry that follows it, and by each session whose head or branch it is: its tips. Only a
-- number of holders other than 1 is stored. All entries of a line have the same first one.
local AT_ONCE = 2000 -- dropped by one script; the rest waits in the list `g`

-- Return what a session holds: its branches and its newest message.
local function tips_of(session)
  local tips = cmsgpack.unpack(session.tips)
  if session.head ~= '' then tips[#tips + 1] = session.head end
  return tips
end

-- Return what is noted of a session that Redis has dropped by itself.
local function read_dropped(name)
  local packed = call('HGET', root .. 'd', name)
  if not packed then return nil end
  local family, head, tips, label = cmsgpack.unpack(packed)
  return {id = name, family = family, head = head, tips = tips, label = label, expired = true}
end

-- Return the session that this script is about; or nil and what is left of an earlier one.
local function read_stored()
  local session = read_session(id)
  if session and not session.expired then return session end
  return nil, session or read_dropped(id)
end

local function let_go(family, entry, budget)
  local family_key = key('f', family)
  while entry ~= '' do
    local found = read_entry(family, entry)
    if not found then return budget end
    local holders = tonumber(call('HGET', family_key, 'h:' .. entry) or 1) - 1
    if holders == 1 then
      call('HDEL', family_key, 'h:' .. entry)
      return budget
    elseif holders > 1 then
      call('HSET', family_key, 'h:' .. entry, holders)
      return budget
    elseif budget == 0 then
      local before, waiting = call('PTTL', family_key), root .. 'g'
      local left = call('PTTL', waiting)
      call('RPUSH', waiting, cmsgpack.pack({family, entry}))
      keep(waiting, left, before >= 0 and before)
      return 0
    end
    call('HDEL', family_key, 'e:' .. entry, 'm:' .. entry, 'h:' .. entry)
    budget = budget - 1
    entry = found.parent
  end
  return budget
end

-- Change the number of tips that the lines of a family have.
local function count_tips(family, changes)
  local family_key = key('f', family)
  for line, change in pairs(changes) do
    if change ~= 0 and call('HINCRBY', family_key, 't:' .. line, change) <= 0 then
      call('HDEL', family_key, 't:' .. line, 'o:' .. line)
    end
  end
end

-- A session leaves its family: what only it held is dropped.
local function leave(session, budget)
  local family_key = key('f', session.family)
  if call('HINCRBY', family_key, 'n', -1) <= 0 then
    call('UNLINK', family_key)
    return budget
  end
  local tips, changes = tips_of(session), {}
  for _, tip in ipairs(tips) do
    local found = read_entry(session.family, tip)
    if found then changes[found.line] = (changes[found.line] or 0) - 1 end
  end
  count_tips(session.family, changes)
  for _, tip in ipairs(tips) do budget = let_go(session.family, tip, budget) end
  return budget
end

local function drop(session, budget)
  forget(session.id, session.label)
  return leave(session, budget)
end

-- Drop what could not be dropped at once; return whether more of it waits.
local function collect(budget)
  while budget > 0 do
    local waiting = call('LPOP', root .. 'g')
    if not waiting then return false end
    local of = cmsgpack.unpack(waiting)
    budget = let_go(of[1], of[2], budget)
  end
  return call('EXISTS', root .. 'g') == 1
end

-- Drop sessions whose time is over.
local function sweep()
  local budget = AT_ONCE
  for _, name in ipairs(call('ZRANGEBYSCORE', root .. 'x', '-inf', now, 'LIMIT', 0, 10)) do
    local session = read_session(name) or read_dropped(name)
    if not session then
      forget(name, '-')
    elseif session.expired then
      budget = drop(session, budget)
    else -- it is held, and lives as long as its run
      call('ZADD', root .. 'x', math.max(now + 60000, session.expires or 0), name)
    end
  end
  collect(budget)
end
