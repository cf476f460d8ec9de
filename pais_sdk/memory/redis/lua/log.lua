-- Read the newest part of a session, with its annotations.
local limit = tonumber(ARGV[3])
local session = read_living(id)
if not session then return {} end
local window = session.head ~= '' and limit ~= 0 and walk(session.family, session.head, limit, '+')
  or {messages = '', ids = {}, parent = session.head, next = '', count = 0, floor = ''}
if session.head ~= '' and limit ~= 0 and #window.ids == 0 then
  return redis.error_reply('GONE the newest message is not there; are keys evicted?')
end
local parent = read_entry(session.family, window.parent) and window.parent or ''
local list = key('n', id)
local annotations = limit == 0 and {} or call('LRANGE', list, limit > 0 and -limit or 0, -1)
local older = call('LINDEX', list, -#annotations - 1)
local greatest = -1
if older then greatest = select(2, after_of(older)) end
return {
  session.family, window.messages, window.next, window.count, window.floor, parent, as_json(window.ids), session.depth,
  annotations, greatest,
}
