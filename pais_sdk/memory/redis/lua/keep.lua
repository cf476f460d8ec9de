-- How sessions are indexed and forgotten, and how long all that belongs to them lives.
local BASE, RANGE = 1700000000000000, 2251799813685248

-- Let a key of several sessions live as long as the longest of them, and return its PTTL; `before` is what that was
-- before the write. It is prolonged by more than it needs, and so not at every write.
local function keep(shared, before, ttl)
  if not ttl then
    if before >= 0 then call('PERSIST', shared) end
    return -1
  end
  if before == -1 or before >= ttl + SLACK then return before end
  call('PEXPIRE', shared, ttl + 2 * SLACK)
  return ttl + 2 * SLACK
end

local function live(own, ttl)
  if ttl then call('PEXPIRE', own, ttl + SLACK) else call('PERSIST', own) end
end

local function index(shared, score, member, ttl)
  local before = call('PTTL', shared)
  call('ZADD', shared, score, member)
  return keep(shared, before, ttl)
end

-- Scopes are ordered by the number of their sessions, and those with equally many by how old their oldest is: the
-- fraction of the score says so, to the microsecond while they have a few sessions.
local function rank(scope)
  local oldest = call('ZRANGE', scope, 0, 0, 'WITHSCORES')
  if not oldest[1] then
    call('ZREM', root .. 'q', scope)
    return
  end
  local age = math.min(math.max(1 - (oldest[2] - BASE) / RANGE, 0), 0.999)
  call('ZADD', root .. 'q', string.format('%.17g', call('ZCARD', scope) + age), scope)
end

-- Note when a session expires, and what is to be dropped then even if Redis has dropped the session by itself, which
-- it does where nobody writes for long. These notes live as long as the index `i`, whose PTTL is `left`, so that
-- nothing is left in that.
local function note(session, left)
  local before = call('PTTL', root .. 'x')
  if session.ttl then
    call('ZADD', root .. 'x', now + session.ttl, session.id)
    call('HSET', root .. 'd', session.id, cmsgpack.pack(session.family, session.head, session.tips, session.label))
  else
    call('ZREM', root .. 'x', session.id)
    call('HDEL', root .. 'd', session.id)
  end
  if left >= 0 and before ~= -1 and before < left then
    call('PEXPIRE', root .. 'x', left)
    call('PEXPIRE', root .. 'd', left)
  elseif left < 0 and before >= 0 then
    call('PERSIST', root .. 'x')
    call('PERSIST', root .. 'd')
  end
end

-- Count a use of a session; all that belongs to it lives on for its ttl, or for ever without. `updated` is its
-- record's, where that was written.
local function touch(session, updated)
  local name, ttl, scope = session.id, session.ttl, scope_key(session.id)
  index(scope, now_us, name, ttl)
  local before = call('PTTL', root .. 'q')
  rank(scope)
  keep(root .. 'q', before, ttl)
  local function list(shared)
    if updated then return index(shared, updated, name, ttl) end
    return keep(shared, call('PTTL', shared), ttl)
  end
  note(session, list(root .. 'i'))
  local labelled = label_key(session.label)
  if labelled then list(labelled) end
  live(key('c', name), ttl)
  live(key('n', name), ttl)
  local family = key('f', session.family)
  if call('HGET', family, 'n') == '1' then
    live(family, ttl)
  else
    keep(family, call('PTTL', family), ttl)
  end
end

-- Let a session that is held, and all that belongs to it, live for `ttl` milliseconds at least.
local function prolong(name, ttl)
  local family, label = unpack(call('HMGET', key('c', name), 'family', 'label'))
  if not family or call('PTTL', key('c', name)) == -1 then return end
  local kept = {
    key('c', name), key('n', name), key('f', family), scope_key(name), root .. 'q', root .. 'i', root .. 'x',
    root .. 'd', label_key(label),
  }
  for _, one in ipairs(kept) do
    local left = call('PTTL', one)
    if left >= 0 then keep(one, left, ttl) end
  end
end

local function forget(name, label)
  call('UNLINK', key('c', name), key('n', name))
  local scope = scope_key(name)
  call('ZREM', scope, name)
  rank(scope)
  call('ZREM', root .. 'i', name)
  local labelled = label_key(label)
  if labelled then call('ZREM', labelled, name) end
  call('ZREM', root .. 'x', name)
  call('HDEL', root .. 'd', name)
end
