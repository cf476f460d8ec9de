-- Add events beside the messages; make the session where there is none.
local revision, record, label, updated, ttl = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local max_messages, max_sessions = tonumber(ARGV[8]), tonumber(ARGV[9])
local done = key('w', revision)
if call('EXISTS', done) == 1 then return end
local stored, expired = read_session(id), nil
if stored and stored.expired then stored, expired = nil, stored end
if stored and #ARGV < 10 then return end

call('SET', done, '', 'PX', DONE)
if expired then drop(expired, AT_ONCE) end
local family, depth = revision, 0
if stored then
  family, depth, label, updated, ttl = stored.family, stored.depth, stored.label, nil, stored.ttl
  call('HSET', key('c', id), 'expires', ttl and now + ttl or '')
else
  call('HSET', key('f', family), 'n', 1)
  call('HSET', key('c', id), 'revision', revision, 'record', record, 'family', family, 'head', '', 'depth', 0,
    'tips', cmsgpack.pack({}), 'label', label, 'ttl', ttl and ttl or '', 'expires',
    ttl and now + ttl or '')
end
add_annotations(10, depth, max_messages)
touch(id, family, ttl, label, updated)
if max_sessions then evict(max_sessions) end
sweep()
