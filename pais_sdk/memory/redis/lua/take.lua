-- Take a session for a run, and read the window of its history.
local token, process, on_busy, lease, limit = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
if limit == 0 and on_busy == 'interrupt' then -- it may be for a deletion, which helps where memory is short:
  call('DEL', key('w', token)) -- after a first write, even of nothing, Redis refuses none
end
local holder, next_process = call('GET', key('l', id)), call('GET', key('r', id))
if holder and holder ~= token then
  if on_busy ~= 'reject' and (not next_process or next_process == process) then
    call('SET', key('r', id), process, 'PX', 1000)
  end
  if on_busy == 'interrupt' then call('SET', key('k', id), holder, 'PX', 5000) end
  return 0
end
if not holder and next_process and next_process ~= process then return 0 end

local session, expired = read_stored()
local window
if session and session.head ~= '' and limit ~= 0 then
  window = walk(session.family, session.head, limit, '+')
  if #window.ids == 0 then return redis.error_reply('GONE the newest message is not there; are keys evicted?') end
end
call('SET', key('l', id), token, 'PX', lease)
if next_process == process then call('DEL', key('r', id)) end
if expired then drop(expired, AT_ONCE) end -- else it would live again while it is held
if not session then return {} end
local record = call('HGET', key('c', id), 'record')
if not window then return {record} end
if window.next == '' then return {record, window.messages} end
return {record, window.messages, session.family, window.next, window.count, window.floor}
