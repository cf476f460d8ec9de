-- Prolong leases, given as session and token in turn; say of each 'kept', 'lost' or 'wanted'.
local lease, states = tonumber(ARGV[3]), {}
for position = 4, #ARGV, 2 do
  local name, token = ARGV[position], ARGV[position + 1]
  if call('GET', key('l', name)) ~= token then
    states[#states + 1] = 'lost'
  else
    call('PEXPIRE', key('l', name), lease)
    prolong(name, lease * 2) -- what is held does not expire
    states[#states + 1] = call('GET', key('k', name)) == token and 'wanted' or 'kept'
  end
end
return states
