-- Find the family of a message among the sessions that were written last, a part of them at a time.
local entry, start = ARGV[2], tonumber(ARGV[3])
local AT_ONCE = 500
local names = call('ZREVRANGE', root .. 'i', start, start + AT_ONCE - 1)
for _, name in ipairs(names) do
  local family = call('HGET', key('c', name), 'family')
  if family and call('HEXISTS', key('f', family), 'e:' .. entry) == 1 then return {family, 0} end
end
return {false, #names == AT_ONCE and start + AT_ONCE or -1}
