-- Read a record and the family of its messages.
local session = read_living(id)
return session and {call('HGET', key('c', id), 'record'), session.family} or {}
