-- Store a record, the messages that came with it and events beside them, and give the session back: all or nothing.
-- Nothing is written before all is known; and the first write is one that Redis refuses where memory is short, for
-- after the first it refuses none.
-- Answer 1; 2 where the message that it continues is not there; or the record that is there, where it is another.
local write, revision, expected, token, record, label = unpack(ARGV, 3, 8)
local head, updated, ttl, hint = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11]), ARGV[12]
local max_messages, max_sessions = tonumber(ARGV[13]), tonumber(ARGV[14])
local done = key('w', write)
if call('EXISTS', done) == 1 then
  give_back(token)
  return 1
end

local stored, expired = read_stored()
if (stored and stored.revision or '') ~= expected then
  return {stored and call('HGET', key('c', id), 'record') or ''}
end
local family = stored and stored.family or (hint ~= '' and hint or write)
local family_key = key('f', family)

local known = {}
local function look_up(entry)
  if known[entry] == nil then known[entry] = read_entry(family, entry) or false end
  return known[entry]
end

-- Who holds what afterwards, and which lines have how many tips more or fewer.
local position = 15
local holders, tips, new_tips, lines = {}, {}, {}, {}
local function hold(entry, change) holders[entry] = (holders[entry] or 0) + change end
for _ = 1, tonumber(ARGV[position]) do
  position = position + 1
  tips[#tips + 1], new_tips[#new_tips + 1] = ARGV[position], ARGV[position]
end
position = position + 1
local new, line = {}, nil
for _ = 1, tonumber(ARGV[position]) do
  local entry, parent, run, message = ARGV[position + 1], ARGV[position + 2], ARGV[position + 3], ARGV[position + 4]
  position = position + 4
  local meta, before = look_up(entry), parent ~= '' and look_up(parent)
  if not meta then
    if before then
      local depth = before.depth + 1
      local start = run ~= '' and run == before.run and before.start or depth
      meta = {depth = depth, start = start, line = before.line}
      hold(parent, 1)
    elseif parent ~= '' then
      return 2
    else
      line = (line or tonumber(call('HGET', family_key, 'lines') or 0)) + 1
      meta = {depth = 0, start = 0, line = line}
    end
    meta.run, meta.parent, meta.new, known[entry] = run, parent, true, meta
    hold(entry, 0)
  end
  new[#new + 1] = {id = entry, message = message, meta = meta}
end
if head ~= '' and not look_up(head) then return 2 end
if head ~= '' then new_tips[#new_tips + 1] = head end
for change, of in pairs({[1] = new_tips, [-1] = stored and tips_of(stored) or {}}) do
  for _, tip in ipairs(of) do
    local meta = look_up(tip)
    if meta then
      hold(tip, change)
      lines[meta.line] = (lines[meta.line] or 0) + change
    end
  end
end

call('SET', done, '', 'PX', DONE)
if expired then forget(id, expired.label) end
for first = 1, #new, 500 do
  local fields = {}
  for number = first, math.min(first + 499, #new) do
    local entry = new[number]
    if entry.meta.new then
      local meta = entry.meta
      fields[#fields + 1] = 'e:' .. entry.id
      fields[#fields + 1] = cmsgpack.pack(meta.depth, meta.start, meta.line, #entry.message, meta.run, meta.parent)
    end
    fields[#fields + 1] = 'm:' .. entry.id
    fields[#fields + 1] = entry.message
  end
  call('HSET', family_key, unpack(fields))
end
if line then call('HSET', family_key, 'lines', line) end
if not stored then call('HINCRBY', family_key, 'n', 1) end
count_tips(family, lines)
local fewer = {}
for entry, change in pairs(holders) do
  if known[entry].new then
    if change ~= 1 then call('HSET', family_key, 'h:' .. entry, change) end
  elseif change > 0 then
    call('HSET', family_key, 'h:' .. entry, tonumber(call('HGET', family_key, 'h:' .. entry) or 1) + change)
  elseif change < 0 then
    fewer[entry] = -change
  end
end
local budget = AT_ONCE
for entry, times in pairs(fewer) do
  for _ = 1, times do budget = let_go(family, entry, budget) end
end
if expired then budget = leave(expired, budget) end

local depth = head ~= '' and known[head].depth + 1 or 0
if stored and stored.label ~= label then
  local labelled = label_key(stored.label)
  if labelled then call('ZREM', labelled, id) end
end
local session = put({
  id = id, revision = revision, family = family, head = head, depth = depth, tips = cmsgpack.pack(tips), label = label,
  ttl = ttl,
}, record)
add_annotations(position + 1, depth, max_messages)
if max_messages and head ~= '' then
  local untrimmed = tonumber(stored and stored.untrimmed or 0)
  local next_time = trim(family, head, untrimmed, max_messages)
  if next_time ~= untrimmed then call('HSET', key('c', id), 'untrimmed', next_time) end
end
finish(session, updated, max_sessions)
give_back(token)
return 1
