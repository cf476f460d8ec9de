-- Events beside the messages: "<after> <greatest after so far> <event>" in a list, in the order in which they came.
local function after_of(annotation)
  local after, greatest = string.match(annotation, '^(%d+) (%d+) ')
  return tonumber(after), tonumber(greatest)
end

-- Add those from ARGV[first] on to a session that has `after` messages.
local function add_annotations(first, after, limit)
  if first > #ARGV then return end
  local list = key('n', id)
  local newest = call('LINDEX', list, -1)
  local greatest = after
  if newest then
    local _, before = after_of(newest)
    greatest = math.max(after, before)
  end
  for position = first, #ARGV do
    call('RPUSH', list, after .. ' ' .. greatest .. ' ' .. ARGV[position])
  end
  if limit then call('LTRIM', list, -limit, -1) end
end

-- Drop those that came before all that is kept.
local function drop_annotations_before(depth)
  local list = key('n', id)
  while true do
    local oldest = call('LINDEX', list, 0)
    if not oldest then return end
    local _, greatest = after_of(oldest)
    if greatest >= depth then return end
    call('LPOP', list)
  end
end
