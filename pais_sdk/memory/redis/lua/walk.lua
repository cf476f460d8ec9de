-- How messages are read: from one of them back, a piece at a time, so that no long history stops the server.
local PIECE, PIECE_BYTES = 1000, 4194304

local function read_entry(family, entry)
  local packed = entry ~= '' and call('HGET', key('f', family), 'e:' .. entry)
  if not packed then return nil end
  local depth, start, line, _, run, parent = cmsgpack.unpack(packed)
  return {depth = depth, start = start, line = line, run = run, parent = parent}
end

-- Return a piece: `.messages` joined by commas and `.ids`, oldest first; the `.parent` of the oldest; and
-- where the next piece begins, with what it needs: `.next` ('' at the end), `.count`, `.floor`.
--   count  how many are wanted still; -1 for all
--   floor  '' for no more than these; '+' to go on to where the run of the oldest begins; then that depth
local function walk(family, entry, count, floor)
  local backwards, bytes, parent = {}, 0, ''
  local family_key = key('f', family)
  floor = tonumber(floor) or floor
  while entry ~= '' and #backwards < PIECE and bytes < PIECE_BYTES do
    local packed = call('HGET', family_key, 'e:' .. entry)
    if not packed then entry = '' break end -- retention has dropped what was older
    local depth, start, _, size, _, before = cmsgpack.unpack(packed)
    backwards[#backwards + 1] = entry
    parent, bytes, entry = before, bytes + size, before
    if count > 0 then
      count = count - 1
      if count == 0 and floor == '+' then floor = start end
    end
    if count == 0 and (floor == '' or depth <= floor) then entry = '' end
  end
  local ids, fields = {}, {}
  for index = #backwards, 1, -1 do
    ids[#ids + 1] = backwards[index]
    fields[#fields + 1] = 'm:' .. backwards[index]
  end
  local messages = #fields > 0 and table.concat(call('HMGET', family_key, unpack(fields)), ',') or ''
  return {
    messages = messages, ids = ids, parent = parent, next = entry, count = count, floor = tostring(floor),
  }
end
