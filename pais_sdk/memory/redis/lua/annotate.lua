-- Add events beside the messages; make the session where there is none.
local revision, record, label, updated, ttl = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local max_messages, max_sessions = tonumber(ARGV[8]), tonumber(ARGV[9])
local done = key('w', revision)
if call('EXISTS', done) == 1 then return end
local stored, expired = read_stored()
if stored and #ARGV < 10 then return end

call('SET', done, '', 'PX', DONE)
if expired then drop(expired, AT_ONCE) end
if stored then
  updated = nil
  call('HSET', key('c', id), 'expires', stored.ttl and now + stored.ttl or '')
else
  stored = put({
    id = id, revision = revision, family = revision, head = '', depth = 0, tips = cmsgpack.pack({}), label = label,
    ttl = ttl,
  }, record)
  call('HSET', key('f', revision), 'n', 1)
end
add_annotations(10, stored.depth, max_messages)
finish(stored, updated, max_sessions)
