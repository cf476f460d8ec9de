-- List sessions of an index, the greatest scores first: as many as are wanted, after a score and id ('' to begin).
-- Answer ids and scores; whether more may be where this stopped looking, and where that was; and records, with the
-- families of their messages, where asked for.
local list, score, after, wanted, with_records = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6] == '1'
local AT_MOST = 1000
local fields = {'revision', 'expires'}
if with_records then fields = {'revision', 'expires', 'record', 'family'} end

local function comes_before(one, other) -- byte by byte; `<` would ask the locale
  for position = 1, math.min(#one, #other) do
    local a, b = string.byte(one, position), string.byte(other, position)
    if a ~= b then return a > b end
  end
  return #one > #other
end

local names, scores, records, families, gone = {}, {}, {}, {}, {}
local last_score, last_name = score, after
local start, looked, ended = 0, 0, false
if score ~= '' then
  if tonumber(call('ZSCORE', list, after) or 'nan') == tonumber(score) then
    start = call('ZREVRANK', list, after) + 1
  else -- it was used since, or is gone
    start = call('ZCOUNT', list, '(' .. score, '+inf')
  end
end
while #names < wanted and looked < AT_MOST and not ended do
  local some = call('ZREVRANGE', list, start, start + wanted, 'WITHSCORES')
  ended = #some < 2 * (wanted + 1)
  for position = 1, #some, 2 do
    local name, when = some[position], some[position + 1]
    start = start + 1
    if when ~= score or comes_before(after, name) then
      looked = looked + 1
      local revision, expires, record, family = unpack(call('HMGET', key('c', name), unpack(fields)))
      if not revision then
        gone[#gone + 1] = name
      elseif not has_expired(name, expires) then
        names[#names + 1], scores[#scores + 1] = name, when
        records[#records + 1], families[#families + 1] = record, family
      end
      last_score, last_name = when, name
      if #names == wanted then break end
    end
  end
end
for _, name in ipairs(gone) do call('ZREM', list, name) end
local more = #names == wanted or not ended
return {
  as_json(names), as_json(scores), more and 1 or 0, last_score, last_name, table.concat(records, ','),
  as_json(families),
}
