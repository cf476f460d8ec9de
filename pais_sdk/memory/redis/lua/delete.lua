-- Delete a session with all that only it holds. Where memory is short, Redis refuses a script's first write if it may
-- take memory, and none after that; so this begins with what takes none.
local expected, done = ARGV[3], key('w', ARGV[4])
if call('EXISTS', done) == 1 then return 1 end
local session = read_living(id)
if not session or session.revision ~= expected then return 0 end
drop(session, AT_ONCE)
call('SET', done, '', 'PX', DONE)
sweep()
return call('EXISTS', root .. 'g') == 1 and 2 or 1
