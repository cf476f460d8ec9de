-- Prolong leases, given as session and token in turn; say of each 'kept', 'lost' or 'wanted'.
local lease, states = tonumber(ARGV[3]), {}
for position = 4, #ARGV, 2 do
  local name, token = ARGV[position], ARGV[position + 1]
  if call('GET', key('l', name)) ~= token then
    states[#states + 1] = 'lost'
  else
    call('PEXPIRE', key('l', name), lease)
    local left = call('PTTL', key('c', name))
    if left >= 0 and left < lease * 2 then -- what is held does not expire
      for _, kind in ipairs({'c', 'n'}) do call('PEXPIRE', key(kind, name), lease * 2 + SLACK) end
      local family = key('f', call('HGET', key('c', name), 'family'))
      keep(family, call('PTTL', family), lease * 2)
    end
    states[#states + 1] = call('GET', key('k', name)) == token and 'wanted' or 'kept'
  end
end
return states
